"""Public fakes, the scripted agent, the loopback model server and repository builders."""
