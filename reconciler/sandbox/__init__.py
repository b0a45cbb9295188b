"""A Globus Auth and Globus Compute stand-in for one machine, with an embedded AMQP broker.

Unmodified ``globus-compute-endpoint`` daemons, the ``globus_compute_sdk`` and Chiltepin work against
it without a network, an account or root. ``lifecycle`` is the API for callers; it needs neither
aiohttp nor pamqp. Everything else runs inside the server process (``server``).

Known limits: logins are client credentials only (no browser flow); whoever may connect to the broker
may use all its queues; the broker knows direct exchanges, one virtual host and no queue arguments;
task-group queues and finished tasks are kept until the state directory is removed; tasks that wait
do not move when a sandbox changes from the embedded broker to a RabbitMQ.
"""
