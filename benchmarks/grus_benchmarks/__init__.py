"""The measurements of `grus bench`: layers of every framework, each in its own process.

In: problems (`problem`: shapes, cells, layers). Out: seconds and ratios, and none for numbers that
are wrong (`right`). `against` starts the processes, compares and times; `worker` and `process` are
the two ends of a pipe, `wire` what goes through it, `peers` the frameworks, `turns` the clock.

`against_torch` is the command without peers, `run_peers` with them: `roofline` and
`machine_limits` say what the machine allows, `tables` and `figure` write what was measured.
"""
