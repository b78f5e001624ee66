"""Lines as InfluxDB documents them, and what is known of values said once per run of slots."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_lib.catalogue import default_catalogue
from factory_lib.errors import BadInput
from factory_lib.store import lineprotocol
from factory_lib.store.backend import NAT, Channel, Rows

SPOT = Channel("spot_eur_mwh", "ES", "omie", "observed", 3600)
PLACE = Channel("temperature_c", "38.151,-3.629", "a=b c", "reanalysis", 3600)


def rows(
    known: list[int], *, channel: Channel = SPOT, first: int = 0, run: list[int] | None = None
) -> Rows:
    number = len(known)
    return Rows(
        (channel,),
        {
            "channel": np.zeros(number, dtype=np.int64),
            "start": first + np.arange(number, dtype=np.int64) * 3600,
            "rev": np.ones(number, dtype=np.int64),
            "value": np.arange(number) + 0.5,
            "available_at": np.array(known, dtype=np.int64),
            "retrieved_at": np.full(number, 99, dtype=np.int64),
            "provider_updated_at": np.full(number, NAT, dtype=np.int64),
            "run": pd.array([("one", "two")[code] for code in run or [0] * number], dtype="str"),
        },
    )


def lines(of: Rows) -> list[str]:
    return b"".join(lineprotocol.value_lines(of, default_catalogue())).decode().splitlines()


def test_a_day_published_together_is_said_once() -> None:
    tags = "kind=observed,place=ES,res=3600,rev=1"
    head = f"energy_prices,{tags},source=omie"
    about = f"about,{tags},series=spot_eur_mwh,source=omie"
    assert lines(rows([-100, -100, 500])) == [
        f'{about} about="=-100;99;;one" 0',
        f"{head} spot_eur_mwh=0.5 0",
        f"{head} spot_eur_mwh=1.5 3600",
        f'{about} about="=500;99;;one" 7200',
        f"{head} spot_eur_mwh=2.5 7200",
    ]


def test_observations_share_their_lag_and_tags_are_escaped() -> None:
    about, first, second = lines(rows([7200, 10800], channel=PLACE))
    assert about.endswith(' about="+7200;99;;one" 0')
    assert first == (
        "weather_data,kind=reanalysis,place=38.151\\,-3.629,res=3600,rev=1,source=a\\=b\\ c "
        "temperature_c=0.5 0"
    )
    assert second.endswith(" temperature_c=1.5 3600")


def test_no_request_reaches_over_many_shards() -> None:
    edge = lineprotocol.REQUEST_S
    batches = list(
        lineprotocol.value_lines(rows([-100] * 5, first=edge - 7200), default_catalogue())
    )
    times = [[int(line.split()[-1]) for line in batch.decode().splitlines()] for batch in batches]
    assert [sorted(set(part)) for part in times] == [
        [edge - 7200, edge - 3600],
        [edge, edge + 3600, edge + 7200],
    ]


def test_another_run_and_a_hole_begin_anew() -> None:
    given_rows = rows([0, 0, 0, 0, 0, 0], run=[0, 0, 1, 1, 1, 1]).take(np.array([0, 1, 2, 3, 5]))
    begun = [int(line.rsplit(" ", 1)[1]) for line in lines(given_rows) if line[:5] == "about"]
    assert begun == [0, 2 * 3600, 5 * 3600]


def test_a_run_ends_where_a_reader_would_not_look_back_any_further() -> None:
    found = lines(rows([0] * 1500))
    begun = [int(line.rsplit(" ", 1)[1]) for line in found if line[:5] == "about"]
    assert begun == [0, lineprotocol.RUN_S, 2 * lineprotocol.RUN_S]


@given(
    known=st.lists(st.integers(-2, 2), min_size=1, max_size=40),
    run=st.lists(st.integers(0, 1), min_size=40, max_size=40),
    lagging=st.booleans(),
    kept=st.sets(st.integers(0, 39)),
)
def test_what_runs_say_is_what_each_value_had(
    known: list[int], run: list[int], lagging: bool, kept: set[int]
) -> None:
    times = [k * 1000 + (i * 3600 if lagging else 0) for i, k in enumerate(known)]
    whole = rows(times, run=run[: len(times)])
    whole = whole.take(np.array([i for i in range(len(times)) if i not in kept], dtype=np.int64))
    which = np.zeros(len(whole), dtype=np.int64)
    first, texts = lineprotocol._runs(whole, which)
    bare = Rows(
        whole.channels, {name: whole[name] for name in ("channel", "start", "rev", "value")}
    )
    expanded = lineprotocol.expand(
        bare, bare.take(first), pa.array(texts, pa.string()).dictionary_encode()
    )
    assert len(expanded) == len(whole)
    for name in ("available_at", "retrieved_at", "provider_updated_at"):
        assert np.array_equal(expanded[name], whole[name])
    assert list(expanded["run"]) == list(whole["run"])


def test_a_value_whose_run_is_not_there_yet_is_left_out() -> None:
    bare = rows([0, 0, 0])
    expanded = lineprotocol.expand(
        bare, bare.take(np.array([1])), pa.array(["=5;6;7;x;y"]).dictionary_encode()
    )
    assert expanded["start"].tolist() == [3600, 7200]
    assert expanded["provider_updated_at"].tolist() == [7, 7]
    assert list(expanded["run"]) == ["x;y", "x;y"]


@pytest.mark.parametrize("text", ["", "a\nb", "a\\"], ids=repr)
def test_a_tag_the_protocol_cannot_carry_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="place"):
        lineprotocol.head("weather_data", {"place": text})


def test_the_lead_of_a_forecast_counts_from_the_slot_of_its_issue() -> None:
    lead = lineprotocol.lead_minutes(
        np.array([7200, 7200]), np.array([3600, 3607]), np.array([3600, 3600])
    )
    assert lead.tolist() == [60, 60]


def test_verdicts_on_one_value_do_not_overwrite_each_other() -> None:
    at = pd.to_datetime([10, 20], unit="s", utc=True).as_unit("s")
    verdicts = pd.DataFrame(
        {
            "series": "load_mw",
            "place": "ES",
            "source": "ree",
            "start": at[[0, 0]],
            "rev": 1,
            "verdict": "released",
            "rule": "range",
            "reason": 'a "quoted" \\ reason',
            "at": at,
            "by": "Ana",
        }
    )
    first, second = lineprotocol.verdict_lines(verdicts, [0, 1]).decode().splitlines()
    assert first.startswith("verdicts,n=0,place=ES,rev=1,series=load_mw,source=ree ")
    assert 'reason="a \\"quoted\\" \\\\ reason",at="10"' in first
    assert second.startswith("verdicts,n=1,")
