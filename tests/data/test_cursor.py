"""A cursor knows what was handed out, whatever the order."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emprune.data.cursor import Cursor
from emprune.data.shard import Shard


@given(data=st.data(), size=st.integers(1, 40), batch_size=st.integers(1, 7), num_resumes=st.integers(0, 3))
def test_any_batches_in_any_order_over_any_number_of_resumes(
    data: st.DataObject, size: int, batch_size: int, num_resumes: int
) -> None:
    plan = torch.randperm(100, generator=torch.Generator().manual_seed(size))[:size]
    delivered: set[int] = set()
    cursor = Cursor(whole(plan))
    for _ in range(num_resumes + 1):
        batches = cursor.rest.split(batch_size) if len(cursor.rest) else ()
        some = data.draw(st.permutations(range(len(batches))))
        for number in some[: data.draw(st.integers(0, len(some)))]:
            cursor.add(batches[number])
            delivered |= set(batches[number].tolist())
        assert cursor.remaining.tolist() == [i for i in plan.tolist() if i not in delivered]
        num_delivered, ahead = cursor.saved()
        assert set(plan[:num_delivered].tolist()) | set(ahead) == delivered
        assert num_delivered == size or int(plan[num_delivered]) not in delivered
        assert not set(ahead) & set(plan[:num_delivered].tolist())
        cursor = Cursor.resumed(whole(plan, num_before=num_delivered), ahead)
        assert cursor.rest.equal(cursor.remaining)


def whole(plan: Tensor, *, num_before: int = 0) -> Shard:
    """What the only rank delivers."""
    return Shard.dealt(plan, rank=0, world_size=1, batch_size=1, num_before=num_before)


def test_turns() -> None:
    cursor = Cursor(whole(torch.tensor([5, 2, 7, 1])))
    assert cursor.is_next(torch.tensor([5, 2]))
    assert not cursor.is_next(torch.tensor([7, 1]))
    cursor.add(torch.tensor([5, 2]))
    assert cursor.is_next(torch.tensor([7, 1]))
    cursor.add(torch.tensor([7, 1]))
    assert not cursor.is_next(torch.tensor([5, 2]))


def test_what_is_counted_costs_no_look_at_the_rest() -> None:
    plan = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    cursor = Cursor(whole(plan))
    for number in (3, 1, 4, 0):
        batch = plan.split(5)[number].clone()
        cursor.add(batch)
        batch += 1_000  # the loop writes to what it was handed
        assert cursor.num_remaining == len(cursor.remaining)
    assert cursor.saved() == (10, plan[15:25].tolist())
