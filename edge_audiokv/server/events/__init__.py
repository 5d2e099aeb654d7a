"""The native event stream: JSON lines on a Unix socket, for hotkeys and shell scripts.

Every connection hears what a session tells, in the lines of `listen -f jsonl --word-timestamps`,
with partials and memory reports; and it may send commands, one object a line, of which each is
answered by a line with its `id`:

    {"id": 1, "command": "listen", "device": "USB"}   ->  {"type": "reply", "id": 1, ...}
    {"id": 2, "command": "ask", "question": "..."}    ->  {"type": "error", "id": 2, ...}
    {"id": 3, "command": "status"}; also "stop", and "toggle" for either

What passes is dropped for who reads too slowly, and counted in a line of the type "dropped". All
hear one session, the machine's own microphone; it goes on when its starter leaves, until "stop".
"""
