"""Tasks on a real Ray cluster of this machine."""

import itertools
import os
import sys
from contextlib import closing

import pytest

from grasp_gen_core.parallel import run_in_order

ray = pytest.importorskip("ray")


def work(number: int) -> tuple[int, int, int, str]:
    import torch

    if number == 9:
        raise ValueError("nine: not accepted")
    return number, os.getpid(), torch.get_num_threads(), os.environ.get("STARTED", "never")


def set_started() -> None:
    os.environ["STARTED"] = os.environ.get("STARTED", "") + "once"


@pytest.fixture(scope="module")
def cluster():
    """Address of a cluster of two CPUs."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Cluster(initialize_head=True, head_node_args=head)
    here = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(here)  # its processes don't find this file
    yield nodes.address
    ray.cloudpickle.unregister_pickle_by_value(here)
    nodes.shutdown()


def test_a_cluster_gives_results_in_order(cluster):
    results = run_in_order(work, itertools.count(), 1, set_started, ray_address=cluster)
    with closing(results):
        found = [next(results) for _ in range(9)]
        with pytest.raises(ValueError, match="^nine: not accepted$"):
            next(results)
    assert [number for number, *_ in found] == list(range(9))
    assert os.getpid() not in {pid for _, pid, *_ in found}
    assert {(threads, started) for *_, threads, started in found} == {(1, "once")}
    assert not ray.is_initialized()
    # What is left early is left, and the cluster can be used again.
    with closing(run_in_order(work, range(5), 1, ray_address=cluster)) as results:
        assert next(results)[0] == 0
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_no_cluster_there(address):
    with pytest.raises(ValueError, match="^ray: .*" + address):
        list(run_in_order(work, range(3), 2, ray_address=address))
