"""What a trainer reports, in the ledger's terms."""

from workers.cluster.orders import Progress
from workers.ledger.inputs import PackProgress, Receipt


def durable(progress: Progress) -> PackProgress:
    """Of a pack that goes on."""
    return PackProgress(progress.pack_id, progress.attempt, progress.manifest, progress.checkpoint, progress.step)


def receipt(progress: Progress) -> Receipt:
    """Of a pack that is done."""
    assert progress.results is not None
    return Receipt(
        pack_id=progress.pack_id,
        attempt=progress.attempt,
        manifest=progress.manifest,
        results=progress.results,  # type: ignore[arg-type]
        seconds=progress.seconds,
        steps=progress.step,
        timed_steps=progress.timed_steps,
    )
