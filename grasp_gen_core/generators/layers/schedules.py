"""Noise schedules of diffusions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grasp_gen_core.errors import InputError
from grasp_gen_core.replay import Replay
from grasp_gen_core.stopping import heed

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

TIMESTEPS = 1000
LEAST = 0.2  # share of noise that errors are divided by


def ddim() -> DDIMScheduler:
    """Cosine, no signal at all at the last time, clean samples predicted."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


def sample(
    predict: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    steps: float,
    scheduler: DDIMScheduler | None = None,
) -> Tensor:
    """What DDIM makes of noise (B, ...).

    Args:
        predict: of states (B, ...) and times (B,) long what the scheduler asks for.
        noise: to start from.
        steps: of the sampler.
        scheduler: None takes `ddim()`.
    """
    scheduler, state = scheduler or ddim(), noise.clone()
    scheduler.set_timesteps(int(steps))
    time = torch.full((len(state),), TIMESTEPS - 1, device=state.device)
    once = Replay(lambda: predict(state, time), state.device)
    for now in scheduler.timesteps:  # from T - 1 down
        heed()
        time.fill_(int(now))
        state.copy_(scheduler.step(once(), now, state, use_clipped_model_output=True).prev_sample)
    return state


def check_steps(steps: float) -> None:
    """Of a sampler.

    Raises:
        InputError: if there are fewer than one or more than TIMESTEPS, or they are no whole number.
    """
    if not 1 <= steps <= TIMESTEPS or steps != int(steps):
        raise InputError(f"steps: {steps}, accepted are 1 to {TIMESTEPS}")


def corrupt(clean: Tensor, inner: int = 0, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Times (B, ...) and noisy states at them of samples (B, ..., n) (Eq. 3, 9).

    Args:
        clean: the samples.
        inner: dimensions before the last that share a time.
        time: None for random ones.
    """
    if time is None:
        time = torch.randint(TIMESTEPS, clean.shape[: -1 - inner], device=clean.device)
    kept = signal(time).view(*time.shape, *[1] * (inner + 1))
    return time, kept.sqrt() * clean + (1 - kept).sqrt() * torch.randn_like(clean)


def signal(time: Tensor) -> Tensor:
    """What is left of a sample's variance at times (B, ...): 1 when clean, 0 when it is noise."""
    return schedule(time.device)[time.long()]


@lru_cache(maxsize=2)  # the CPU's and a device's
def schedule(device: torch.device) -> Tensor:
    return ddim().alphas_cumprod.to(device)


def denoised(state: Tensor, found: Tensor, time: Tensor) -> Tensor:
    """Clean samples (B, ...) of states at times (B,) or (B, D) and of what a network found.

    It finds what is missing (v, Salimans and Ho 2022): copying what is nearly clean needs no
    learning.
    """
    kept = signal(time).view(*time.shape, *[1] * (state.ndim - time.ndim))
    return kept.sqrt() * state + (1 - kept).sqrt() * found.float()


def certainty(kept: Tensor) -> Tensor:
    """What an error counts where so much of the signal is left: as one of v, 1 - kept times."""
    return 1 / (1 - kept).clamp(min=LEAST)
