"""The real clip from end to end: what is said, when, and on what it rests."""

import pytest

from serval.assistant.answers.checker import check
from serval.assistant.event import EventKind
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline
from serval.encoders.eyes import PARTS
from serval.weights import model_id


def near(times: list[float], moment: float, tolerance: float = 0.7) -> bool:
    return any(abs(time - moment) <= tolerance for time in times)


class TestBikes:
    def test_says_first_how_it_understood(self, bikes):
        kinds = [event.kind for event in bikes.events]
        assert kinds[:3] == [EventKind.INSTRUCTION] * 3
        assert EventKind.INSTRUCTION not in kinds[3:]
        assert [event.data["text"] for event in bikes.events[:3]] == [
            "describe every new scene",
            "tell me when a person comes in",
            "say when the taxi sign is visible",
        ]
        assert "“taxi”" in bikes.events[2].text

    @pytest.mark.parametrize("moment", [1.3, 3.3, 5.5, 7.5])
    def test_tells_of_each_new_scene(self, bikes, moment):
        assert near(bikes.times("describe-every-new-scene"), moment)

    def test_tells_of_no_more_scenes_than_there_are(self, bikes):
        assert len(bikes.said("describe-every-new-scene")) <= 8

    def test_reads_the_taxi_sign_while_it_is_there(self, bikes):
        said = bikes.said("taxi-sign-visible")
        assert said and all(2.4 <= event.t_end <= 3.4 for event in said)
        assert "“TAXI”" in said[0].text

    @pytest.mark.parametrize("moment", [1.7, 4.6])
    def test_tells_of_people(self, bikes, moment):
        assert near(bikes.times("person-comes-in"), moment)

    def test_every_utterance_rests_on_pictures_that_are_kept(self, bikes):
        assert len(bikes.said()) == bikes.summary.said > 8
        with Recording.open(bikes.folder, write=False) as recording:
            for event in bikes.said():
                assert event.evidence and event.facts
                for each in event.evidence:
                    picture = recording.picture_named(each.frame)
                    assert picture is not None and picture.time == each.time
                    assert event.t_start - 3 <= each.time <= event.t_end
                    assert 0 <= each.score <= 1
                    if each.box is not None:
                        assert 0 <= each.box.left < each.box.right <= 1
                        assert 0 <= each.box.top < each.box.bottom <= 1
                        assert each.label
                own = {each for fact in event.facts for each in fact.evidence}
                assert set(event.evidence) == own

    def test_every_utterance_says_why_now_and_by_what(self, bikes):
        for event in bikes.said():
            assert event.why_now is not None and event.why_now.policy == "wake" and event.why_now.why
            assert event.why_now.score >= event.why_now.threshold
            assert event.models["objects"] == model_id(PARTS["objects"])
            assert event.answerer == "template" and event.verified and not event.unverified
            assert event.t_start <= event.t_end <= event.said_at

    def test_no_utterance_says_more_than_its_facts(self, bikes):
        assert {event.text: check(event.text, event.facts) for event in bikes.said() if check(event.text, event.facts)} == {}

    def test_everything_told_is_on_the_timeline(self, bikes):
        with Timeline.open(bikes.folder, write=False) as timeline:
            kept = {event.id: event for event in timeline.events()}
        assert kept == {event.id: event for event in bikes.events}

    def test_sums_up(self, bikes):
        summary = bikes.summary
        assert 9.5 < summary.seconds < 10.5 and summary.took > 0
        assert summary.status.waiting == 0 and summary.status.frames == {"bikes": 80}
        assert summary.status.looked["bikes"] < 60
        assert sum(sum(counts.values()) for counts in summary.drops.values()) == 0
