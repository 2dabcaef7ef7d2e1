"""News for many readers: each in order, none holds up another, and who is too slow is told how much he missed."""

import asyncio
import threading

from serval.serving.feed import Feed


async def taken(reader):
    return [told async for told in reader]


def test_every_reader_gets_all_in_order_from_any_thread():
    async def run():
        feed = Feed()
        readers = [feed.reader(100) for _ in range(3)]
        teller = threading.Thread(target=lambda: [feed.tell({"number": number}) for number in range(50)] and feed.close())
        teller.start()
        found = await asyncio.gather(*map(taken, readers))
        teller.join()
        return found

    assert asyncio.run(run()) == [[{"number": number} for number in range(50)]] * 3


def test_a_slow_reader_misses_the_oldest_and_is_told():
    async def run():
        feed = Feed()
        reader = feed.reader(3)
        for number in range(10):
            feed.tell({"number": number})
        feed.close()
        return await taken(reader)

    assert asyncio.run(run()) == [{"type": "serval.missed", "count": 7}, {"number": 7}, {"number": 8}, {"number": 9}]


def test_patience_and_leaving():
    async def run():
        feed = Feed()
        reader = feed.reader(3)
        assert await reader.next(0.01) is None and not reader.over
        feed.leave(reader)
        feed.tell({"number": 1})
        assert await reader.next(0.01) is None
        feed.close()
        late = feed.reader(3)
        assert await late.next() is None and late.over
        reader.close()
        assert await reader.next() is None and reader.over

    asyncio.run(run())


def test_a_reader_whose_loop_has_ended_stops_nobody():
    feed = Feed()

    async def gone():
        return feed.reader(3)

    reader = asyncio.run(gone())
    feed.tell({"number": 1})
    assert reader._closed
