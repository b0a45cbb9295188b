"""The pure core: values in, values out; no file, clock, process, network or Globus package."""
