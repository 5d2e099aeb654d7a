"""/v1/realtime: live sound in, text out as it becomes certain, over one WebSocket.

    protocol (frames, deadlines) -> connection (one client) -> inbox -> live (the model's thread)

What events are called is the dialect's alone (`ga`): the rest knows sound, turns and questions.
"""
