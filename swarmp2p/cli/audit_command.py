"""`swarmp2p audit`: follow the models back to the genesis."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from swarmp2p.cli.options import home_option, ipfs_auth, ipfs_option, json_option, manifest_argument

if TYPE_CHECKING:
    from swarmp2p.content.archive import ContentArchive

DOES_NOT_FIT = 3
"""Exit code when something does not fit; 1 is an audit that could not be made."""


@click.command("audit")
@manifest_argument
@home_option
@click.option("--deep", is_flag=True, help="Also merge again what content HOME still holds.")
@ipfs_option
@json_option
@click.pass_context
def command(ctx: click.Context, manifest: Path, home: Path, deep: bool, ipfs: str | None, as_json: bool) -> None:
    """Follow a swarm's models from the contract's head back to the genesis, and check every step.

    For each merged round: whose updates went in with which weight, that the hash over them and the link to the model
    before are right, and that enough members signed for every slice; and that enough signed each invitation and each
    vote. Merges that a vote left behind are checked as well, and named. It needs the manifest and the chain, no key and no
    trust in any member. With --deep it also makes the merges again, of which HOME still holds the updates; a peer
    keeps them if keep_rounds is set under [local] in its swarm.toml. HOME is only read, and may be in use; a peer that
    runs with --ipfs is audited with it, too.

    The exit code is 0 if everything fits. It is 3 if something does not: the first such thing is named.
    """
    from swarmp2p.audit.check import check_chain
    from swarmp2p.audit.collect import read_evidence
    from swarmp2p.audit.recompute import recompute
    from swarmp2p.audit.report import as_json as report_as_json
    from swarmp2p.content.archive import ContentArchive
    from swarmp2p.control.manifest_file import load_manifest
    from swarmp2p.core.errors import ConfigError
    from swarmp2p.home import CONTENT_FOLDER
    from swarmp2p.merge.registry import rule_from_id
    from swarmp2p.merge.self_test import self_test

    agreed = load_manifest(manifest)
    content = home.expanduser() / CONTENT_FOLDER
    if deep and not content.is_dir():
        raise ConfigError(f"There is no content in {home}.", "Name the home of a peer of this swarm with --home.")
    evidence = trio.run(read_evidence, agreed)
    report = check_chain(evidence, agreed)
    if deep:
        self_test()
        archive = ContentArchive(content) if ipfs is None else _archive_in_node(content, ipfs)
        recompute(report, archive, evidence.config, rule_from_id(agreed.rule), agreed.max_abs)
    if as_json:
        click.echo(json.dumps(report_as_json(report)))
    else:
        for line in report.lines():
            click.echo(line)
    ctx.exit(0 if report.fits else DOES_NOT_FIT)


def _archive_in_node(content: Path, ipfs: str) -> "ContentArchive":
    from swarmp2p.content.kubo_archive import KuboArchive  # its client takes its time to import

    return KuboArchive(content, ipfs, auth=ipfs_auth())
