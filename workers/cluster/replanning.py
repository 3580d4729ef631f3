"""What becomes of a pack that cannot be run as it was planned: smaller packs, or the same pack in parts.

Fewer slots need less memory, and share their process with fewer others; their bits are those of the new size. Parts
keep size and slots, so the bits of their trials stay.
"""

import hashlib
from collections.abc import Sequence

from workers.cluster.orders import TrainerFacts
from workers.cluster.planning import execution_id_of
from workers.ledger.inputs import NewPack
from workers.ledger.rows import PackRow

IS_SMALLER = "is_replanned_smaller"
REPLACES = "replaces"
"""The pack in whose place this one is, in its plan."""
Members = Sequence[tuple[str, int]]


def smaller(pack: PackRow) -> list[NewPack]:
    """For a pack that kills its process: its halves, and of a half each trial alone. Nothing is left of a size of 1."""
    if pack.plan.get(IS_SMALLER) or len(pack.members) == 1:
        return [] if pack.size == 1 else [_resized(pack, [member], 1) for member in pack.members]
    return halves(pack)


def halves(pack: PackRow) -> list[NewPack]:
    """For a pack that runs out of memory: half of its trials each, without padding. Nothing is left of a size of 1."""
    if pack.size == 1:
        return []
    size = (len(pack.members) + 1) // 2
    return [_resized(pack, pack.members[first : first + size], size) for first in range(0, len(pack.members), size)]


def parts(pack: PackRow) -> list[NewPack]:
    """For a pack of which one trial raises: half of its members each, where they are. Nothing is left of one member."""
    middle = (len(pack.members) + 1) // 2
    if middle == len(pack.members):
        return []
    return [
        _new_pack(pack, members, pack.size, dict(pack.plan), pack.execution_id)
        for members in (pack.members[:middle], pack.members[middle:])
    ]


def _resized(pack: PackRow, members: Members, size: int) -> NewPack:
    points_of_slot = [pack.plan["points_of_slot"][slot] for _, slot in members]
    plan = pack.plan | {"points_of_slot": points_of_slot, IS_SMALLER: True}
    moved = [(trial_id, slot) for slot, (trial_id, _) in enumerate(members)]
    facts = TrainerFacts(**pack.plan["facts"], origins={})
    return _new_pack(pack, moved, size, plan, execution_id_of(facts, size))


def _new_pack(pack: PackRow, members: Members, size: int, plan: dict[str, object], execution_id: str) -> NewPack:
    said = f"{pack.pack_id}/{size}/{','.join(trial_id for trial_id, _ in members)}"
    return NewPack(
        pack_id=hashlib.sha256(said.encode()).hexdigest()[:20],
        group_key=pack.group_key,
        size=size,
        chunk_steps=pack.chunk_steps,
        members=members,
        execution_id=execution_id,
        plan=plan | {REPLACES: pack.pack_id},
    )
