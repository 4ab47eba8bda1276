"""The DNS example's answers, as BIND 9.18 has given them for its zone.

Recorded with ``recursion no`` from the zone in ``dns_server.py``. Where the
example means to differ, the test says so.
"""

import importlib.util
import sys

import pytest
from programs import EXAMPLES

if importlib.util.find_spec("dns") is None:
    pytest.skip("dnspython is optional", allow_module_level=True)

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.zone

sys.path.insert(0, str(EXAMPLES))
try:
    from dns_answers import Answers
    from dns_server import ZONE
finally:
    sys.path.remove(str(EXAMPLES))

SOA = "SOA ns.example.org. hostmaster.example.org. 1 7200 900 1209600 300"
NOTHING = [f"example.org. 300 IN {SOA}"]
WWW = "www.example.org. 3600 IN A 192.0.2.2"
MAIL = "mail.example.org. 3600 IN A 192.0.2.3"
TO_LAB = ["lab.example.org. 3600 IN NS ns.lab.example.org."]
LAB = ["ns.lab.example.org. 3600 IN A 192.0.2.53"]
WEB = "web.example.org. 3600 IN CNAME www.example.org."
RENAMED = [
    "old.example.org. 3600 IN DNAME users.example.org.",
    "joe.old.example.org. 3600 IN CNAME joe.users.example.org.",
]
HEADER = "QR AA RD"

# The question; the rcode, the flags, the answer, authority, additional.
BIND = {
    "www A": ("NOERROR", HEADER, [WWW], [], []),
    "www AAAA": (
        "NOERROR",
        HEADER,
        ["www.example.org. 3600 IN AAAA 2001:db8::2"],
        [],
        [],
    ),
    "mail AAAA": ("NOERROR", HEADER, [], NOTHING, []),
    "@ SOA": ("NOERROR", HEADER, [f"example.org. 3600 IN {SOA}"], [], []),
    "@ NS": (
        "NOERROR",
        HEADER,
        ["example.org. 3600 IN NS ns.example.org."],
        [],
        ["ns.example.org. 3600 IN A 192.0.2.1"],
    ),
    "@ MX": (
        "NOERROR",
        HEADER,
        ["example.org. 3600 IN MX 10 mail.example.org."],
        [],
        [MAIL],
    ),
    "@ TXT": (
        "NOERROR",
        HEADER,
        ['example.org. 3600 IN TXT "v=spf1 mx -all"'],
        [],
        [],
    ),
    "@ DS": ("NOERROR", HEADER, [], NOTHING, []),
    "web A": ("NOERROR", HEADER, [WEB, WWW], [], []),
    "web CNAME": ("NOERROR", HEADER, [WEB], [], []),
    "web ANY": ("NOERROR", HEADER, [WEB], [], []),
    "web MX": ("NOERROR", HEADER, [WEB], NOTHING, []),
    "away A": (
        "NOERROR",
        HEADER,
        ["away.example.org. 3600 IN CNAME www.example.net."],
        [],
        [],
    ),
    "gone A": (
        "NXDOMAIN",
        HEADER,
        ["gone.example.org. 3600 IN CNAME nobody.example.org."],
        NOTHING,
        [],
    ),
    "round A": (
        "SERVFAIL",
        HEADER,
        [
            "round.example.org. 3600 IN CNAME around.example.org.",
            "around.example.org. 3600 IN CNAME round.example.org.",
        ],
        [],
        [],
    ),
    "inlab A": (
        "NOERROR",
        HEADER,
        ["inlab.example.org. 3600 IN CNAME www.lab.example.org."],
        TO_LAB,
        LAB,
    ),
    "_tcp A": ("NOERROR", HEADER, [], NOTHING, []),
    "_sip._tcp SRV": (
        "NOERROR",
        HEADER,
        ["_sip._tcp.example.org. 3600 IN SRV 0 5 5060 mail.example.org."],
        [],
        [MAIL],
    ),
    "users A": ("NOERROR", HEADER, [], NOTHING, []),
    "joe.users A": (
        "NOERROR",
        HEADER,
        ["joe.users.example.org. 3600 IN A 192.0.2.4"],
        [],
        [],
    ),
    "joe.users MX": ("NOERROR", HEADER, [], NOTHING, []),
    "a.joe.users A": (
        "NOERROR",
        HEADER,
        ["a.joe.users.example.org. 3600 IN A 192.0.2.4"],
        [],
        [],
    ),
    "*.users A": (
        "NOERROR",
        HEADER,
        ["*.users.example.org. 3600 IN A 192.0.2.4"],
        [],
        [],
    ),
    "lab A": ("NOERROR", "QR RD", [], TO_LAB, LAB),
    "lab NS": ("NOERROR", "QR RD", [], TO_LAB, LAB),
    "ns.lab A": ("NOERROR", "QR RD", [], TO_LAB, LAB),
    "www.lab A": ("NOERROR", "QR RD", [], TO_LAB, LAB),
    "lab DS": ("NOERROR", HEADER, [], NOTHING, []),
    "x.lab DS": ("NOERROR", "QR RD", [], TO_LAB, LAB),
    "joe.old A": (
        "NOERROR",
        HEADER,
        [*RENAMED, "joe.users.example.org. 3600 IN A 192.0.2.4"],
        [],
        [],
    ),
    "joe.old CNAME": ("NOERROR", HEADER, RENAMED, [], []),
    "old DNAME": ("NOERROR", HEADER, RENAMED[:1], [], []),
    "old A": ("NOERROR", HEADER, [], NOTHING, []),
    "nobody A": ("NXDOMAIN", HEADER, [], NOTHING, []),
    "a.www A": ("NXDOMAIN", HEADER, [], NOTHING, []),
    "www RRSIG": ("NOERROR", HEADER, [], NOTHING, []),
    "www TYPE65280": ("NOERROR", HEADER, [], NOTHING, []),
    "@ AXFR": ("REFUSED", "QR RD", [], [], []),
    "@ MAILB": ("NOTIMP", "QR RD", [], [], []),
    "@ TKEY": ("FORMERR", "QR RD", [], [], []),
    "example.net. SOA": ("REFUSED", "QR RD", [], [], []),
    "org. NS": ("REFUSED", "QR RD", [], [], []),
}


def answers_of(text):
    return Answers(dns.zone.from_text(text, relativize=False))


def ask(answers, question):
    name, rdtype = question.split()
    origin = dns.name.from_text("example.org")
    name = dns.name.from_text(name, origin)
    query = dns.message.make_query(name, rdtype)
    answer = dns.message.from_wire(answers.answer(query.to_wire()))
    assert answer.id == query.id
    assert answer.question == query.question
    return answer


def told(answer):
    sections = answer.answer, answer.authority, answer.additional
    return (
        dns.rcode.to_text(answer.rcode()),
        dns.flags.to_text(answer.flags),
        *([rrset.to_text() for rrset in section] for section in sections),
    )


@pytest.mark.parametrize("question", BIND)
def test_the_answer_is_that_of_bind(question):
    assert told(ask(answers_of(ZONE), question)) == BIND[question]


def test_any_is_one_set_of_records():
    # BIND gives all, as long as it is not told ``minimal-any yes``.
    answer = ask(answers_of(ZONE), "@ ANY")
    assert len(answer.answer) == 1
    assert answer.answer[0].name == dns.name.from_text("example.org")


def test_a_name_comes_back_as_it_was_written():
    (rrset,) = ask(answers_of(ZONE), "wWw A").answer
    assert rrset.name.to_text() == "wWw.example.org."


START = "$ORIGIN example.org.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n"


def test_a_soa_that_lives_shorter_than_nothing_keeps_its_ttl():
    answer = ask(answers_of(START.replace("4 5", "4 99")), "nobody A")
    assert answer.authority[0].ttl == 60


def test_a_wildcard_does_not_reach_below_a_name_that_exists():
    # RFC 4592, 2.2.1: the closest encloser has no wildcard of its own.
    answers = answers_of(START + "* A 192.0.2.9\nhost TXT there\n")
    assert ask(answers, "any.thing A").answer[0][0].address == "192.0.2.9"
    assert ask(answers, "below.host A").rcode() == dns.rcode.NXDOMAIN


def test_an_alias_may_be_a_wildcard():
    answers = answers_of(START + "* CNAME host\nhost A 192.0.2.9\n")
    assert told(ask(answers, "any A"))[2] == [
        "any.example.org. 60 IN CNAME host.example.org.",
        "host.example.org. 60 IN A 192.0.2.9",
    ]


def test_a_chain_has_an_end():
    chain = "".join(f"n{i} CNAME n{i + 1}\n" for i in range(99))
    answer = ask(answers_of(START + chain), "n0 A")
    assert answer.rcode() == dns.rcode.SERVFAIL


def test_a_renamed_name_that_is_too_long_says_so():
    long = ".".join(["x" * 60] * 3)
    answers = answers_of(START + f"old DNAME {long}\n")
    answer = ask(answers, f"{'y' * 60}.old A")
    assert answer.rcode() == dns.rcode.YXDOMAIN
    assert [rrset.rdtype for rrset in answer.answer] == [dns.rdatatype.DNAME]


def test_a_host_that_is_named_twice_has_its_address_once():
    answers = answers_of(START + "@ MX 1 m\n@ MX 2 m\nm A 192.0.2.1\n")
    query = dns.message.make_query("example.org", "MX")
    # Of the header: reading the message would join the two.
    assert answers.answer(query.to_wire())[10:12] == b"\0\1"


def test_an_address_that_another_server_has_is_not_added():
    answers = answers_of(
        START + "@ MX 1 m.lab\nlab NS ns.lab\n"
        "ns.lab A 192.0.2.1\nm.lab A 192.0.2.2\n"
    )
    assert ask(answers, "@ MX").additional == []
