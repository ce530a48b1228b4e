"""The commands `serve` and `keys`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from detox_ray.cli.arguments import Verbose, check_output
from detox_ray.cli.exit_codes import exit_codes
from detox_ray.cli.output import Format, Output
from detox_ray.config import ConfigError, Problem

if TYPE_CHECKING:
    from detox_ray.serve.launch import StartedService


def serve(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run's folder or URI, such as runs/toy17.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Fields of the serve block, such as limits.n=8."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Instead of RUN: a model by folder or Hub id; may be repeated."),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(metavar="SCORER", help="A ready scorer, NAME=PATH or a YAML file; may be repeated."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Beyond loopback, API keys are required.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind; 0 takes a free one.")] = None,
    write_config: Annotated[
        Path | None,
        typer.Option("--write-config", metavar="FILE", help="Only write the YAML file for `serve deploy`."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="With --write-config: write KubeRay's RayService, with this container image.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Talk to the models of a run side by side: OpenAI-compatible API, comparison, scoring, a web page.

    With --scorer alone, it answers the Perspective API's comments:analyze and starts no engine:

      detox-ray serve --scorer calibrated.yaml

    Ctrl-C or SIGTERM stops it, after the requests in flight are answered.
    """
    with exit_codes(verbose, interrupted="the service is not running; the same command starts it"):
        from detox_ray.cluster.progress import Progress
        from detox_ray.serve import launch, manifests, spec

        options = {"host": host, "port": port}
        fields = [*(overrides or ()), *(f"{name}={value}" for name, value in options.items() if value is not None)]
        if (model or scorer) and run is not None and "=" in run:  # then the first argument is an override, not RUN
            fields, run = [run, *fields], None
        args = spec.arguments(run, model or (), scorer or (), fields)
        if write_config is not None:
            check_output("--write-config", write_config)
            resolved = spec.resolve(args)  # reports problems here rather than on the cluster
            manifest = manifests.ray_service(args, resolved, image) if image else manifests.serve_config(args)
            write_config.parent.mkdir(parents=True, exist_ok=True)
            write_config.write_text(manifests.to_yaml(manifest), encoding="utf-8")
            print(write_config)
            return
        if image is not None:
            raise ConfigError([Problem("--image", image, "goes with --write-config")])
        output = Output(Format.TABLE)
        launch.launch(args, lambda service: _say_addresses(output, service), Progress(), verbose)
        Console(stderr=True).print("stopped")


def _say_addresses(output: Output, service: "StartedService") -> None:
    """Print the addresses of the service, and the models and scorers that it serves."""
    spec, url = service.spec, service.url
    output.say(f"{url} answers after {service.seconds:.0f} s")
    for engine in spec.engines:
        adapters = f", and by adapters {', '.join(engine.adapters)}" if engine.adapters else ""
        output.say(f"  model {engine.model.name}{adapters}")
    scorers = ", ".join(scorer.name for scorer in spec.scorers) or "none: completions are not scored"
    output.say(f"  scorers {scorers}")
    if not spec.engines:
        output.say(f"  Perspective API {url}/v1alpha1/comments:analyze · cards {url}/scorers · stop with Ctrl-C")
        return
    output.say(f"  page {url}/ · OpenAI API {url}/v1 · {url}/v1/compare · stop with Ctrl-C")


def keys(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's holder, for logs and limits.")] = "default",
    verbose: Verbose = False,
) -> None:
    """Create an API key for serve: print the key, once only, to standard error, and its hash to standard output.

    Keep the hashes in a file that serve reads:

      detox-ray keys alice >> keys.txt
      detox-ray serve runs/toy17 api_keys=keys.txt
    """
    with exit_codes(verbose):
        from detox_ray.serve.http.keys import new_key

        key, hashed = new_key(name)
        Console(stderr=True).print(
            f"key of {name}, shown only now: {key}", markup=False, highlight=False, soft_wrap=True
        )
        print(hashed)
