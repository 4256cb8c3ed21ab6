"""Steps 1 to 4 on the tiny world: the young are segmented, and their searches drift."""

from rehearsal.jobs import (
    step_1_segment_users,
    step_2_replay_requests,
    step_3_score_drift,
    step_4_attribute_drift,
)
from rehearsal.runtime import Job


def test_steps(job: Job) -> None:
    for m in (
        step_1_segment_users,
        step_2_replay_requests,
        step_3_score_drift,
        step_4_attribute_drift,
    ):
        print(m.step(job))
    from rehearsal.tables import schemas as S

    for c in (S.SEGMENTATIONS, S.SEGMENT_PROFILES, S.DRIFT_SCORES, S.ALERTS, S.DRIFT_CONTRIBUTIONS):
        job.store.read(c).show(20, 40)
    job.store.read(S.REPLAYS).show(3, False)
