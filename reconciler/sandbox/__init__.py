"""A Globus Auth and Globus Compute stand-in for one machine, with an embedded AMQP broker.

Unmodified ``globus-compute-endpoint`` daemons, the ``globus_compute_sdk`` and Chiltepin work against
it without a network, an account or root. ``lifecycle`` is the API for callers; it needs neither
aiohttp nor pamqp. Everything else runs inside the server process (``server``).
"""
