"""A cap on what a run may cost: it stops in time, says so, and a higher one goes on."""

import orjson


def test_a_cap_stops_the_run_with_3_and_the_same_command_with_a_higher_one_goes_on(terminal, simulator, manifest):
    api = simulator(latency="0.1s")
    command = ("run", manifest(60).path, "--out", "out", "--base-url", api.base_url, "--yes")
    stopped = terminal(*command, "--max-cost", "0.05", "--json")
    assert stopped.code == 3, stopped.err
    told = orjson.loads(stopped.out)
    assert told["stopped"] == "budget"
    bought = api.summary()
    assert 0 < bought["posts_accepted"] < 60
    assert bought["open"] == 0, "what was paid for is collected"
    spent, over = told["budget"]["spent"]["cost"], told["budget"]["over"]["cost"]
    assert abs(spent - bought["cost"]) < 1e-4
    assert spent <= 0.05 + over
    again = terminal(*command, "--max-cost", "0.05")
    assert (again.code, api.summary()["posts_accepted"]) == (3, bought["posts_accepted"])
    assert "stopped by the budget: $0.0" in again.err
    assert "the same command with a higher --max-cost goes on" in again.err
    assert terminal(*command, "--max-cost", "50").code == 0
    whole = api.summary()
    assert whole["posts_accepted"] == 60
    [receipt] = (terminal.folder / "out" / "runs").glob("2*/receipt.json")
    budget = orjson.loads(receipt.read_bytes())["budget"]
    assert budget["caps"] == {"cost": 50.0, "tokens": None}
    assert abs(budget["spent"]["cost"] - whole["cost"]) < 1e-3
    assert terminal("verify", receipt.parent.name, "--out", "out").code == 0


def test_a_cap_that_is_given_while_another_command_leads_holds_at_once(terminal, simulator, manifest, look):
    api = simulator(latency="5s")
    command = ("run", manifest(60).path, "--out", "out", "--base-url", api.base_url, "--yes")
    first = terminal.starts(*command, "--max-total-tokens", "9000000", "--json")
    first.until(lambda: api.summary()["posts_accepted"] >= 4, "POSTs")
    [path] = (terminal.folder / "out" / "runs").glob("2*")
    second = terminal.starts(*command, "--max-total-tokens", "50000")
    second.until(lambda: "from now on the run has --max-total-tokens 50000" in second.said, "it says so")
    assert look(path.name).budget.tokens == 50_000
    codes = first.ends().code, second.ends().code
    assert codes == (3, 3)
    assert api.summary()["posts_accepted"] < 60
