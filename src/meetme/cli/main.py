"""The command `meetme`: finds the verb, runs it, turns what went wrong into words and an exit status.

Exit status: 0 done; 1 failed and undone; 2 usage or bad input; 3 refused by the peer or by policy; 4 the other side
cannot be reached; 130 interrupted, cleaned up. Data goes to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from meetme import __version__

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Connect two networks": {
        "negotiate": ("meetme.cli.negotiate:negotiate", "Agree on layer 3 with a peer and program the routers."),
        "status": ("meetme.cli.status:status", "All negotiations of this member, with their health."),
        "show": ("meetme.cli.show:show", "One negotiation: addresses, steps, what is still owed."),
        "agreement": ("meetme.cli.agreement:agreement", "The signed agreement, verified."),
        "change": ("meetme.cli.change:change", "Other prefixes or another MTU for an active agreement."),
        "terminate": ("meetme.cli.terminate:terminate", "Take an agreement back on both sides."),
        "release": ("meetme.cli.release:release", "End the quarantine of what could not be verified as removed."),
    },
    "Services of all members": {
        "catalog": ("meetme.cli.catalog:catalog", "What everybody offers: search it, and offer something."),
        "order": ("meetme.cli.order:order", "From an offer to the address where it answers; and taking it back."),
        "orders": ("meetme.cli.orders:orders", "What was bought and sold, and what waits for a decision."),
    },
    "Circuits across exchanges": {
        "exchange": ("meetme.cli.exchange:exchange", "Whether circuits can be ordered at an exchange."),
        "circuit": ("meetme.cli.circuit:circuit", "Offers, circuits, and taking them back."),
        "topology": ("meetme.cli.topology:topology", "The exchanges, the links between them, and how fresh that is."),
    },
    "Run a member": {
        "serve": ("meetme.cli.serve:serve", "Run services of this member: negotiator, composer, configurator."),
        "identity": ("meetme.cli.identity:identity", "The member's key and certificate."),
        "peer": ("meetme.cli.peer:peer", "Who is who, and what each may do here."),
        "attachment": ("meetme.cli.attachment:attachment", "Where circuits land on the own border routers."),
        "account": ("meetme.cli.account:account", "Who may log in to the catalogue's web page, and what for."),
        "database": ("meetme.cli.database:database", "What services keep: copy it, to move or as a backup."),
        "doctor": ("meetme.cli.doctor:doctor", "What this machine can do, and how the running member does."),
        "audit": ("meetme.cli.audit:audit", "What was decided, in an order that nobody can change unnoticed."),
    },
    "Try it": {
        "demo": ("meetme.cli.demo:demo", "Two providers with the same addresses, joined in a second, on this machine."),
        "lab": ("meetme.cli.lab:lab", "Whole networks in namespaces, from Kathara files."),
        "bench": ("meetme.cli.bench:bench", "How long it takes on this machine, beside a baseline."),
    },
}
"""Section → verb → (where its command lives, one line of help). Nothing of it is imported until the verb runs."""


class Verbs(click.Group):
    """A group that knows its verbs by name and imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, in the order of the help page."""
        return [verb for verbs in SECTIONS.values() for verb in verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and give its command."""
        for verbs in SECTIONS.values():
            if cmd_name in verbs:
                module, _, name = verbs[cmd_name][0].partition(":")
                command: click.Command = getattr(import_module(module), name)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown verb is answered with the nearest ones."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx))
            hint = f' (did you mean "{near[0]}"?)' if near else ""
            raise click.UsageError(f'no such command "{args[0]}"{hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs by purpose, without importing one of them."""
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb, text) for verb, (_, text) in verbs.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="meetme")
def cli() -> None:
    """Connect two networks in a second, whatever addresses they use.

    Two members agree on layer 3 over a pure layer-2 circuit, their border routers are programmed, packets are seen to
    cross, and all of it can be taken back. To watch it work on this machine: meetme demo

    Shell completion: eval "$(_MEETME_COMPLETE=bash_source meetme)"
    """


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run `meetme ARGUMENTS` and give the exit status; what went wrong is on stderr."""
    try:
        # https://no-color.org: click itself only asks whether it writes to a terminal
        colour = False if os.environ.get("NO_COLOR") else None
        result = cli.main(args=arguments, prog_name="meetme", standalone_mode=False, color=colour)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2 if isinstance(error, click.UsageError) else error.exit_code
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:
        from meetme.cli.output import explain

        return explain(error)
