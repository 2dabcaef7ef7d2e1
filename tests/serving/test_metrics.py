"""What the service measures of itself."""

from prometheus_client.parser import text_string_to_metric_families

from tests.serving.clip import hand_in


def measured(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_counts_follow_what_happens(service):
    client = service.client()
    before = measured(client)
    assert before["serval_streams", "watching"] == 0 and before["serval_frames_total",] == 0
    stream = client.post("/v1/streams", json={"instructions": ["describe every new scene"]}).json()["id"]
    taken = hand_in(client, stream, fps=4, seconds=3)[""]
    view = client.get(f"/v1/streams/{stream}").json()
    found = measured(client)
    assert found["serval_streams", "watching"] == 1 and found["serval_frames_total",] >= view["frames"] > 0
    assert found["serval_frames_total",] <= taken and found["serval_looks_total",] > 0
    assert found["process_resident_memory_bytes",] > 1e7
    client.post(f"/v1/streams/{stream}/stop")
    after = measured(client)
    assert (after["serval_streams", "watching"], after["serval_streams", "ended"]) == (0, 1)
    assert after["serval_utterances_total",] == client.get(f"/v1/streams/{stream}").json()["said"] >= 1
    assert after["serval_answers_total",] >= 0 and stream not in client.get("/metrics").text


def test_only_admins_see_them(serve, key):
    anna, admin = key("anna"), key("admin", "admin")
    running = serve()
    assert running.client(anna).get("/metrics").status_code == 403
    assert running.client(admin).get("/metrics").status_code == 200
