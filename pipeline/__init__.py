"""vidbatch: annotate a video library through an async LLM API, every row paid for once, every row accounted for.

The front door for programs: what is named here stays, whatever moves behind it.
"""

__all__: list[str] = []
