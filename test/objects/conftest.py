"""Fixtures that the tests of objects share."""

import pytest

from grasp_gen_core.objects.sampling import farthest_point, sample_surface


@pytest.fixture(scope="session")
def even_cloud():
    """Function: mesh -> evenly spaced points and their true normals."""

    def sample(mesh, n=2048):
        points, normals = sample_surface(mesh, 8 * n)
        chosen = farthest_point(points, n)
        return points[chosen], normals[chosen]

    return sample
