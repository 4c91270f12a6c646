"""What is told of the devices that the stages of a process got."""

from __future__ import annotations

from streamflow.core.device_choice import Change, DeviceChoices

NO_GPU = {"cuda:0": "cuda:0: there is no GPU"}


def choices() -> DeviceChoices:
    return DeviceChoices({"gpu": ["spectra", "detect"], "other": ["work"]})


def test_one_sentence_tells_of_all_stages_of_a_process() -> None:
    told = choices()
    assert told.opened("gpu", "spectra", "host", NO_GPU) == []
    sentence = "stages spectra, detect: work on host instead of cuda:0 (there is no GPU)"
    assert told.opened("gpu", "detect", "host", NO_GPU) == [Change(("spectra", "detect"), "host", sentence)]
    assert told.devices == {"spectra": "host", "detect": "host"}


def test_stages_that_fell_back_for_other_reasons_have_sentences_of_their_own() -> None:
    told = choices()
    told.opened("gpu", "spectra", "host", NO_GPU)
    changes = told.opened("gpu", "detect", "host", {"cuda:1": "cuda:1: it is full"})
    assert [change.stages for change in changes] == [("spectra",), ("detect",)]
    assert changes[1].sentence == "stage detect: works on host instead of cuda:1 (it is full)"


def test_who_has_what_it_asked_for_is_told_only_when_it_has_it_again() -> None:
    told = choices()
    assert told.opened("other", "work", "cuda:0", {}) == []
    (lost,) = told.opened("other", "work", "host", {"cuda:0": "cuda:0: it failed in use"})
    assert lost.sentence == "stage work: works on host instead of cuda:0 (it failed in use)"
    assert told.opened("other", "work", "host", NO_GPU) == [], "the next life has the same"
    (again,) = told.opened("other", "work", "cuda:0", {})
    assert again.sentence == "stage work: works on cuda:0 again"


def test_a_life_that_ended_while_its_stages_opened_says_nothing_of_the_next() -> None:
    told = choices()
    told.opened("gpu", "spectra", "host", NO_GPU)
    told.went_down("gpu")
    assert told.opened("gpu", "spectra", "cuda:0", {}) == []
    assert told.opened("gpu", "detect", "cuda:0", {}) == []
