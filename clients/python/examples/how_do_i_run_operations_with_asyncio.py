"""How do I run operations in an asyncio program?

LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=lrn_... python how_do_i_run_operations_with_asyncio.py
"""

import asyncio

from longrun import AsyncClient, AsyncWorker, Attempt


async def main() -> None:
    async with AsyncClient.from_env() as client:
        worker = AsyncWorker(client, concurrency=100)

        @worker.handler("word_count")
        async def count_words(attempt: Attempt) -> str:
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                # A cancellation was requested, the time limit expired, or the worker is being stopped. Clean up here.
                raise
            return f"{len(attempt.input.split())} words"

        await worker.run()


asyncio.run(main())
