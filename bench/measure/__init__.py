"""Latency, throughput, memory and costs."""
