"""The resources that each deployment requests: replicas, CPUs, GPUs. No Ray is started."""

from page_backend import serve_spec

from detox_ray.config import EngineConfig, ScoringConfig, ServeConfig
from detox_ray.models import LoadableModel
from detox_ray.serve.app import engine_groups, engine_options, replica_options
from detox_ray.serve.spec import EngineSpec


def engine(**config: object) -> EngineSpec:
    model = LoadableModel("base", "org/model", False, "main", "auto", "key")
    return EngineSpec(model, {}, 0, EngineConfig.model_validate(config))


def test_replicas_are_fixed_unless_a_larger_number_lets_the_load_decide() -> None:
    assert engine_options(engine(replicas=3), gpus=False)["num_replicas"] == 3
    assert engine_options(engine(replicas=3, max_replicas=3), gpus=False)["num_replicas"] == 3
    scaled = engine_options(engine(replicas=1, max_replicas=4, target_ongoing=5, max_ongoing=9), gpus=False)
    assert "num_replicas" not in scaled and scaled["max_ongoing_requests"] == 9
    assert scaled["autoscaling_config"] == {"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 5}


def test_an_engine_takes_a_gpu_where_the_cluster_has_some() -> None:
    assert engine_options(engine(cpus=2), gpus=False)["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 0}
    assert engine_options(engine(), gpus=True)["ray_actor_options"]["num_gpus"] == 1


def test_tensor_parallel_workers_find_their_gpus_in_the_replicas_group() -> None:
    options = engine_options(engine(tensor_parallel=3, cpus=2), gpus=True)
    assert options["placement_group_bundles"] == [{"CPU": 2, "GPU": 1}, {"GPU": 1}, {"GPU": 1}]
    assert options["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 0}  # the workers need every GPU
    assert "placement_group_bundles" not in engine_options(engine(tensor_parallel=3), gpus=False)


def test_engines_share_a_replica_on_one_machine_without_gpus() -> None:
    served = serve_spec()
    groups = engine_groups(served, one_process=True)
    assert {name: [engine.model.name for engine in group] for name, group in groups.items()} == {
        "engines": ["detox", "base"]
    }
    assert list(engine_groups(served)) == ["engine-detox", "engine-base"]
    own = served._replace(config=ServeConfig(engines={"base": EngineConfig()}))
    assert list(engine_groups(own, one_process=True)) == ["engines", "engine-base"]
    scaled = [engine._replace(config=EngineConfig(max_replicas=2)) for engine in served.engines]
    assert len(engine_groups(served._replace(engines=scaled), one_process=True)) == 2


def test_scorers_share_a_gpu_as_configured() -> None:
    options = replica_options(ScoringConfig(gpus=0.5, cpus=1), gpus=0.5)
    assert options["ray_actor_options"] == {"num_cpus": 1, "num_gpus": 0.5}
