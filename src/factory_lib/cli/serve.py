"""The live page: serve."""

import click

from factory_lib.cli.common import common_options, write

commands = click.Group()


@commands.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on.",
)
@click.option("--behind-proxy", is_flag=True, help="A proxy before it asks for passwords.")
@common_options
def serve(profile: str | None, host: str, port: int, behind_proxy: bool, as_json: bool) -> None:
    """Serve the live page, the JSON API and the metrics; nothing is written."""
    from factory_lib.service.app import serve as run
    from factory_lib.service.reading import Reading

    reading = Reading(profile)
    write(f"http://{host}:{port}/ · profile {reading.settings.profile} · Ctrl-C ends it")
    run(reading, host, port, behind_proxy=behind_proxy)
