# SPDX-License-Identifier: Apache-2.0
"""A healthy program is clean, and one dead connection among many is found."""
import pytest

import tool
import world


@pytest.fixture
def idle(net, victim):
    """(server's namespace, server, client's namespace, client) and 1,000
    idle connections between them."""
    a, b = net.pair()
    path = victim("idle")
    server = tool.Program(path, "server", "10.78.0.1:7000", prefix=a.prefix)
    server.truth()
    client = tool.Program(path, "client", "10.78.0.1:7000", "1000",
                          prefix=b.prefix)
    client.truth()
    assert tool.wait_until(lambda: server.ask("count") == "count 1000")
    yield a, server, b, client
    client.end()
    server.end()


def test_thousand_idle_connections_are_clean(idle):
    _, server, _, client = idle
    for program in (server, client):
        result = world.check(program.pid)
        assert result.json["findings"] == [], result
        assert result.status == tool.CLEAN, result
        assert result.json["summary"]["tasks"] >= 1000


def test_one_dead_among_a_thousand_is_the_only_finding(idle):
    a, server, b, _ = idle
    local = [line for line in b.sockets("dport = :7000")][500].split()[3]
    port = local.rsplit(":", 1)[1]
    b.cut("10.78.0.1")
    b.forget("sport = :%s" % port)
    b.mend("10.78.0.1")
    assert len(b.sockets("dport = :7000")) == 999
    assert len(a.sockets("sport = :7000")) == 1000
    result = world.check(server.pid)
    assert result.status == tool.FINDINGS, result
    assert len(result.json["findings"]) == 1, result
    f = result.json["findings"][0]
    assert f["count"] == 1
    assert f["grade"] == "proven"
    assert f["socket"]["verdict"] == "half-open"
    assert f["socket"]["remote"] == local
