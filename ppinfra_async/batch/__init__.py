"""Resumable batches of jobs from a manifest; refuses to pay twice."""
