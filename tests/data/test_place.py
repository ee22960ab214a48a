"""A place knows what was handed out, whatever the order."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from emprune.data.place import Place


@given(data=st.data(), size=st.integers(1, 40), batch_size=st.integers(1, 7), num_resumes=st.integers(0, 3))
def test_any_batches_in_any_order_over_any_number_of_resumes(
    data: st.DataObject, size: int, batch_size: int, num_resumes: int
) -> None:
    share = torch.randperm(100, generator=torch.Generator().manual_seed(size))[:size]
    delivered: set[int] = set()
    place = Place(share)
    for _ in range(num_resumes + 1):
        batches = place.rest.split(batch_size) if len(place.rest) else ()
        some = data.draw(st.permutations(range(len(batches))))
        for number in some[: data.draw(st.integers(0, len(some)))]:
            place.add(batches[number])
            delivered |= set(batches[number].tolist())
        assert place.remaining.tolist() == [i for i in share.tolist() if i not in delivered]
        num_delivered, ahead = place.saved()
        assert set(share[:num_delivered].tolist()) | set(ahead) == delivered
        assert num_delivered == size or int(share[num_delivered]) not in delivered
        assert not set(ahead) & set(share[:num_delivered].tolist())
        place = Place.resumed(share, num_delivered, ahead)
        assert place.rest.equal(place.remaining)


def test_turns() -> None:
    place = Place(torch.tensor([5, 2, 7, 1]))
    assert place.is_next(torch.tensor([5, 2]))
    assert not place.is_next(torch.tensor([7, 1]))
    place.add(torch.tensor([5, 2]))
    assert place.is_next(torch.tensor([7, 1]))
    place.add(torch.tensor([7, 1]))
    assert not place.is_next(torch.tensor([5, 2]))


def test_skipping_is_for_a_share_that_was_not_cut_already() -> None:
    share = torch.tensor([5, 2, 7, 1])
    place = Place(share)
    assert not place.skip_to(torch.tensor([3]))
    assert place.skip_to(torch.tensor([7, 1]))
    assert place.saved() == (2, [])
    assert not Place.resumed(share, 2, []).skip_to(torch.tensor([1]))
