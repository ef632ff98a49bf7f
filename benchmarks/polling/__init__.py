"""Polling schedules against each other, in simulated time: `python -m benchmarks.polling`.

Rows arrive six a second, so that many are in flight, and take what a known distribution draws for them, from a seed.
The adaptive schedule is the product's own code, learning as it does in a run; beside it stand polls every 5 s, polls
that double their distance, and the optimum for who knows the distribution in advance, on the very same rows.
"""
