"""Rows that papers printed: of grasps of HO-3D's ten objects, each under the protocol it was
measured by, and of CHOIR's perturbed-grasp benchmark."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One method's line of a published table; metrics that the table lacks are left out."""

    method: str
    source: str
    metrics: dict[str, float]


_DVQVAE = ("contact_ratio_pct", "penetration_volume_cm3", "sim_displacement_cm")
_DVQVAE_1 = (*_DVQVAE, "entropy", "cluster_size", "quality_index")
_GRASPTTA = ("penetration_depth_cm", "penetration_volume_cm3", "sim_displacement_cm")
_GRASPTTA += ("sim_displacement_std_cm", "contact_ratio_pct")
_FASTGRASP = ("penetration_volume_cm3", "sim_displacement_cm", "contact_ratio_pct")
_FASTGRASP += ("entropy", "cluster_size")


def _rows(source: str, names: tuple[str, ...], table: dict[str, tuple]) -> list[Row]:
    return [
        Row(method, source, {n: v for n, v in zip(names, values, strict=True) if v is not None})
        for method, values in table.items()
    ]


# By protocol and view; "GraspTTA Variance" is the standard deviation its script computes.
PUBLISHED: dict[tuple[str, str], list[Row]] = {
    ("dvqvae", "full"): _rows(
        "DVQ-VAE, Table 1",
        _DVQVAE_1,
        {
            "GraspCVAE": (99.60, 7.23, 2.78, 2.96, 0.81, 4.12),
            "GraspTTA": (100, 9.00, 2.65, 2.87, 0.80, 4.56),
            "ContactGen": (90.10, 6.53, 3.72, 2.94, 4.79, 4.57),
            "GraspingField": (89.60, 20.05, 4.14, 2.91, 3.31, 8.93),
            "DVQ-VAE": (99.50, 5.36, 2.75, 2.80, 3.84, 3.54),
        },
    ),
    ("dvqvae", "mask50"): _rows("DVQ-VAE, Table 3", _DVQVAE, {"DVQ-VAE": (99.60, 5.66, 2.80)}),
    ("dvqvae", "mask90"): _rows("DVQ-VAE, Table 3", _DVQVAE, {"DVQ-VAE": (99.70, 7.37, 2.67)}),
    ("grasptta", "full"): _rows(
        "GraspTTA, Table 1",
        _GRASPTTA,
        {
            "HO-3D's own hands": (2.94, 6.08, 4.31, 4.42, 91.60),
            "GraspingField": (1.46, 14.90, 3.45, 3.92, 90.10),
            "GraspTTA": (1.05, 4.58, 3.21, 3.79, 99.61),
        },
    )
    + _rows(
        "GraspTTA, Table 2",
        _GRASPTTA,
        {"GraspTTA without adaptation (GraspCVAE)": (0.94, 4.21, 4.98, 4.48, 86.63)},
    ),
    ("fastgrasp", "full"): _rows(
        "FastGrasp, Table 2",
        _FASTGRASP,
        {
            "GrabNet": (15.50, 2.34, 99, 2.80, 2.06),
            "GraspTTA": (7.37, 5.34, 76, 2.70, 1.43),
            "HALO": (25.84, 3.02, 97, 2.81, 4.87),
            "GraspingField": (93.01, None, 100, 2.75, 3.44),
            "ContactGen": (9.96, 2.70, 97, 2.81, 5.04),
            "FastGrasp, trained on GRAB": (5.23, 2.14, 98, 2.88, 3.97),
            "ContactGen, trained on OakInk": (14.32, 2.41, 100, 2.84, 5.23),
            "FastGrasp, trained on OakInk": (12.30, 1.44, 100, 2.88, 4.41),
        },
    ),
}

# What papers left out or put in place of their own parts.
PUBLISHED_ABLATION: dict[tuple[str, str], list[Row]] = {
    ("fastgrasp", "full"): _rows(
        "FastGrasp, Table 1",
        _FASTGRASP,
        {
            "baseline CVAE": (23.17, 3.12, 100, 2.64, 0.93),
            "diffusion": (16.64, 2.18, 90, 2.87, 4.04),
            "diffusion with physical losses": (12.73, 3.87, 62, 2.87, 1.37),
            "FastGrasp, whole": (5.23, 2.14, 98, 2.88, 3.97),
        },
    )
}

_REFINED = ("mpjpe_mm", "r_mpjpe_mm", "penetration_volume_cm3")
_REFINED += ("contact_f1_pct", "contact_precision_pct", "contact_recall_pct")

# By what was held out, on ContactPose: the papers' subjects are other hands here.
PUBLISHED_REFINED: dict[str, list[Row]] = {
    "hands": _rows(
        "CHOIR, Table 7",
        _REFINED,
        {
            "perturbed": (83.02, 21.55, 6.99, 1.55, 1.88, 2.74),
            "ContactOpt": (32.88, 28.17, 12.83, 17.27, 13.24, 34.30),
            "TOCH": (26.96, 29.24, 10.14, 22.23, 21.46, 25.09),
            "JointDiffusion": (27.69, 23.54, 6.04, 27.20, 25.21, 32.80),
            "JointDiffusion, multimodal": (35.45, 33.10, 5.62, 24.88, 23.87, 29.24),
        },
    ),
    "objects": _rows(
        "CHOIR, Table 5",
        _REFINED,
        {
            "perturbed": (83.02, 21.55, 6.99, 1.55, 1.88, 2.74),
            "ContactOpt": (35.05, 29.13, 12.83, 15.39, 12.04, 30.36),
            "TOCH": (48.27, 51.13, 17.63, 11.18, 10.74, 13.54),
            "JointDiffusion": (42.54, 29.55, 2.90, 21.40, 21.94, 23.05),
        },
    ),
}
