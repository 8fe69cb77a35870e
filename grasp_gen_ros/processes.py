"""What the package's nodes have in common as processes: exit codes, and how they end."""

from __future__ import annotations

from collections.abc import Callable

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.logging import get_logger

from grasp_gen_core.errors import InputError


def run_node(name: str, spin: Callable[[], None], args: list[str] | None = None) -> int:
    """Run a node until it is told to end.

    Args:
        name: of the node, for the log.
        spin: makes the node and spins it.
        args: command line; None takes the process's.

    Returns:
        The exit code: 0 after SIGINT or SIGTERM, 2 for arguments, a parameter file or parameters
        that aren't accepted, told in one line. A bug raises, which Python turns into a traceback
        and 1.
    """
    try:
        try:
            rclpy.init(args=args)
        except (_rclpy.RCLError, _rclpy.UnknownROSArgsError) as error:
            raise InputError(f"ROS arguments: {error}") from error
        spin()
    except (InputError, ParameterException, NameValidationException) as error:
        get_logger(name).fatal(" ".join(str(error).split()))
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except _rclpy.RCLError:
        if rclpy.ok():
            raise  # else something was published or sent just after the signal
    finally:
        rclpy.try_shutdown()
    return 0
