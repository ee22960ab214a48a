"""A place knows what was handed out, whatever the order."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emprune.data.place import Place
from emprune.data.share import Share


@given(data=st.data(), size=st.integers(1, 40), batch_size=st.integers(1, 7), num_resumes=st.integers(0, 3))
def test_any_batches_in_any_order_over_any_number_of_resumes(
    data: st.DataObject, size: int, batch_size: int, num_resumes: int
) -> None:
    plan = torch.randperm(100, generator=torch.Generator().manual_seed(size))[:size]
    delivered: set[int] = set()
    place = Place(whole(plan))
    for _ in range(num_resumes + 1):
        batches = place.rest.split(batch_size) if len(place.rest) else ()
        some = data.draw(st.permutations(range(len(batches))))
        for number in some[: data.draw(st.integers(0, len(some)))]:
            place.add(batches[number])
            delivered |= set(batches[number].tolist())
        assert place.remaining.tolist() == [i for i in plan.tolist() if i not in delivered]
        num_delivered, ahead = place.saved()
        assert set(plan[:num_delivered].tolist()) | set(ahead) == delivered
        assert num_delivered == size or int(plan[num_delivered]) not in delivered
        assert not set(ahead) & set(plan[:num_delivered].tolist())
        place = Place.resumed(whole(plan, num_before=num_delivered), ahead)
        assert place.rest.equal(place.remaining)


def whole(plan: Tensor, *, num_before: int = 0) -> Share:
    """What the only rank delivers."""
    return Share.dealt(plan, rank=0, world_size=1, batch_size=1, num_before=num_before)


def test_turns() -> None:
    place = Place(whole(torch.tensor([5, 2, 7, 1])))
    assert place.is_next(torch.tensor([5, 2]))
    assert not place.is_next(torch.tensor([7, 1]))
    place.add(torch.tensor([5, 2]))
    assert place.is_next(torch.tensor([7, 1]))
    place.add(torch.tensor([7, 1]))
    assert not place.is_next(torch.tensor([5, 2]))


def test_skipping_is_for_a_share_that_was_not_cut_already() -> None:
    plan = torch.tensor([5, 2, 7, 1])
    place = Place(whole(plan))
    assert not place.skip_to(torch.tensor([3]))
    assert place.skip_to(torch.tensor([7, 1]))
    assert place.saved() == (2, [])
    assert not Place.resumed(whole(plan, num_before=2), []).skip_to(torch.tensor([1]))
