"""Everything that knows diffusers: schedules, predictions, denoisers, sampling, loading."""
