"""The DNS example's messages: sizes, versions, and what is no query."""

import importlib.util
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import EXAMPLES

if importlib.util.find_spec("dns") is None:
    pytest.skip("dnspython is optional", allow_module_level=True)

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import dns.tsig
import dns.zone

sys.path.insert(0, str(EXAMPLES))
try:
    import dns_answers
    from dns_answers import Answers
    from dns_server import ZONE, split
finally:
    sys.path.remove(str(EXAMPLES))

START = "$ORIGIN example.org.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n"


def answers_of(text=ZONE):
    return Answers(dns.zone.from_text(text, relativize=False))


def query(name="www.example.org", rdtype="A", **options):
    return dns.message.make_query(name, rdtype, **options)


def answer_to(wire, text=ZONE):
    return dns.message.from_wire(answers_of(text).answer(wire))


WIRE = query(use_edns=0).to_wire()
# Of the root, 11 bytes, at the end.
OPT = WIRE[-11:]
PLAIN = query().to_wire()


def counted(wire, *counts):
    """Return a message with other counts in its header."""
    return wire[:4] + struct.pack("!4H", *counts) + wire[12:]


@pytest.mark.parametrize(
    ("wire", "has_edns"),
    [
        (PLAIN[:12], False),
        (PLAIN[:20], False),
        (counted(PLAIN, 0, 0, 0, 0), False),
        (counted(PLAIN, 2, 0, 0, 0) + PLAIN[12:], False),
        (counted(PLAIN, 1, 0, 0, 1), False),
        (counted(PLAIN, 1, 0, 0, 9) + OPT * 9, False),
        (counted(WIRE[:12] + OPT, 0, 0, 0, 1), True),
        (counted(WIRE, 1, 0, 0, 2) + OPT, True),
        (counted(WIRE, 1, 1, 0, 0), True),
        (WIRE[:-2] + b"\0\3\0\1\0", True),
        (WIRE[:-11] + b"\1x" + OPT, True),
        (WIRE[:-3], False),
        (query(rdclass="ANY").to_wire(), False),
    ],
    # Their first two bytes are a random ID.
    ids=[
        "header",
        "half_a_name",
        "no_question",
        "two_questions",
        "counted_record",
        "nine_opt",
        "opt_alone",
        "two_opt",
        "an_answer",
        "option_of_one_byte",
        "opt_of_a_name",
        "cut_opt",
        "class_any",
    ],
)
def test_what_cannot_be_read_is_a_format_error(wire, has_edns):
    answer = answer_to(wire)
    assert answer.rcode() == dns.rcode.FORMERR
    assert answer.flags & dns.flags.QR
    assert not answer.flags & dns.flags.AA
    assert answer.id == int.from_bytes(wire[:2], "big")
    assert (answer.edns == 0) is has_edns


@pytest.mark.parametrize("size", [0, 1, 2, 11])
def test_less_than_a_header_is_not_answered(size):
    assert answers_of().answer(PLAIN[:size]) is None


def test_an_answer_is_not_answered():
    answers = answers_of()
    answer = answers.answer(PLAIN)
    assert answers.answer(answer) is None
    assert answers.answer_frames([answer]) == []


def test_bytes_after_a_query_are_not_looked_at():
    assert answer_to(PLAIN + b"xx").answer


def test_records_of_other_kinds_are_passed_over():
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + b"abcd"
    assert answer_to(counted(PLAIN, 1, 1, 0, 0) + record).answer


@pytest.mark.parametrize("opcode", range(1, 16))
@pytest.mark.parametrize("edns", [-1, 0])
def test_no_opcode_but_query_is_implemented(opcode, edns):
    asked = query(use_edns=edns)
    asked.set_opcode(opcode)
    answer = answer_to(asked.to_wire())
    assert answer.rcode() == dns.rcode.NOTIMP
    assert answer.opcode() == opcode
    assert dns.flags.to_text(answer.flags & ~0x7800) == "QR"
    assert answer.edns == edns
    assert not answer.question


@pytest.mark.parametrize("version", [1, 255])
def test_a_later_version_of_edns_is_told_which_there_is(version):
    answer = answer_to(query(use_edns=version).to_wire())
    assert answer.rcode() == dns.rcode.BADVERS
    assert (answer.edns, answer.payload) == (0, 1232)
    assert not answer.answer


def test_a_query_without_edns_has_an_answer_without():
    assert answer_to(PLAIN).edns == -1


@pytest.mark.parametrize("dnssec", [False, True])
def test_dnssec_is_repeated(dnssec):
    answer = answer_to(query(want_dnssec=dnssec, use_edns=0).to_wire())
    assert bool(answer.ednsflags & dns.flags.DO) is dnssec


def test_flags_that_are_the_clients_are_repeated_and_no_others():
    asked = query(flags=dns.flags.CD | dns.flags.AD | dns.flags.RA)
    assert dns.flags.to_text(answer_to(asked.to_wire()).flags) == "QR AA CD"


def test_a_class_that_is_not_the_internets_is_refused():
    answer = answer_to(query(rdclass="CH").to_wire())
    assert answer.rcode() == dns.rcode.REFUSED


def test_a_signed_query_is_told_that_nobody_has_the_key():
    asked = query()
    asked.use_tsig(dns.tsig.Key("key", b"0" * 32))
    answer = answer_to(asked.to_wire())
    assert answer.rcode() == dns.rcode.NOTAUTH


def test_a_signature_before_other_records_is_a_format_error():
    asked = query()
    asked.use_tsig(dns.tsig.Key("key", b"0" * 32))
    wire = counted(asked.to_wire(), 1, 0, 0, 2) + OPT
    assert answer_to(wire).rcode() == dns.rcode.FORMERR


def texts(*sizes):
    """Return a zone whose "big" has a record with strings of these sizes."""
    strings = " ".join('"' + "x" * size + '"' for size in sizes)
    return START + f"big TXT {strings}\n"


# What an answer has without the strings: the header, the question, and the
# record with its name compressed.
FIXED = 12 + 21 + 12


@pytest.mark.parametrize(
    ("payload", "size", "fits"),
    [
        (None, 512, True),
        (None, 513, False),
        (0, 512, True),
        (0, 513, False),
        (511, 513, False),
        (513, 513, True),
        (513, 514, False),
        (1232, 1232, True),
        (1232, 1233, False),
        (65535, 1232, True),
        (65535, 1233, False),
    ],
)
def test_an_answer_is_as_large_as_both_ends_take(payload, size, fits):
    edns = 0 if payload is None else len(OPT)
    left = size - FIXED - edns
    zone = texts(*[255] * (left // 256), left % 256 - 1)
    options = {} if payload is None else {"use_edns": 0, "payload": payload}
    asked = query("big.example.org", "TXT", **options).to_wire()
    wire = answers_of(zone).answer(asked)
    answer = dns.message.from_wire(wire)
    assert bool(answer.flags & dns.flags.TC) is not fits
    assert bool(answer.answer) is fits
    assert answer.question
    assert (answer.edns == 0) is (payload is not None)
    if fits:
        assert len(wire) == size
    # And all of it over TCP.
    prefix, rest = answers_of(zone).answer_frames([asked])
    assert int.from_bytes(prefix[:2], "big") == 2 + len(rest) == size
    assert prefix[2:] == asked[:2]


def test_addresses_that_were_not_asked_for_are_left_out_first():
    addresses = "".join(f"m A 192.0.2.{i}\n" for i in range(40))
    answer = answer_to(
        query("example.org", "MX").to_wire(), START + "@ MX 1 m\n" + addresses
    )
    assert not answer.flags & dns.flags.TC
    assert answer.answer
    assert not answer.additional


def test_a_delegation_is_not_given_without_its_addresses():
    addresses = "".join(f"ns.lab A 192.0.2.{i}\n" for i in range(40))
    answer = answer_to(
        query("www.lab.example.org").to_wire(),
        START + "lab NS ns.lab\n" + addresses,
    )
    assert answer.flags & dns.flags.TC
    assert not answer.authority


@pytest.mark.parametrize("elsewhere", ["ns", "ns.other"])
def test_addresses_of_a_delegations_servers_elsewhere_may_be_left_out(
    elsewhere,
):
    addresses = "other NS ns.other\n" + "".join(
        f"{elsewhere} A 192.0.2.{i}\n" for i in range(40)
    )
    answer = answer_to(
        query("www.lab.example.org").to_wire(),
        START + f"lab NS {elsewhere}\n" + addresses,
    )
    assert not answer.flags & dns.flags.TC
    assert answer.authority


def test_an_answer_that_is_remembered_has_the_new_number():
    answers = answers_of()
    first = answers.answer(b"\0\1" + PLAIN[2:])
    second = answers.answer(b"\0\2" + PLAIN[2:])
    assert first[:2] == b"\0\1"
    assert second[:2] == b"\0\2"
    assert first[2:] == second[2:]


def test_the_oldest_answer_is_forgotten(monkeypatch):
    monkeypatch.setattr(dns_answers, "REMEMBERED", 2)
    built = []
    build = dns_answers.answer_to
    monkeypatch.setattr(
        dns_answers,
        "answer_to",
        lambda *arguments: built.append(1) or build(*arguments),
    )
    answers = answers_of()
    wires = [query(f"{name}.example.org").to_wire() for name in "abc"]
    for wire in [*wires, *wires[1:]]:
        answers.answer(wire)
    assert len(built) == 3
    answers.answer(wires[0])
    assert len(built) == 4


def test_a_query_with_much_behind_it_is_not_remembered():
    answers = answers_of()
    answers.answer(PLAIN + bytes(600))
    assert not answers._over_udp


@pytest.mark.parametrize(
    ("data", "frames", "used"),
    [
        (b"", [], 0),
        (b"\0", [], 0),
        (b"\0\0", [b""], 2),
        (b"\0\2a", [], 0),
        (b"\0\2ab", [b"ab"], 4),
        (b"\0\2ab\0\0\0\1c\0\1", [b"ab", b"", b"c"], 9),
    ],
)
def test_what_comes_over_tcp_is_cut_into_messages(data, frames, used):
    assert split(memoryview(data)) == (frames, used)


ANSWERS = answers_of()


@given(st.binary(max_size=80), st.integers(0, 12))
def test_nothing_that_comes_is_an_error(data, kept):
    # Whole headers and questions, too, and what is no query at all.
    wire = WIRE[: kept * 4] + data
    answer = ANSWERS.answer(wire)
    chunks = ANSWERS.answer_frames([wire])
    if len(wire) < 12 or wire[2] & 0x80:
        assert answer is None
        assert chunks == []
    else:
        assert answer[:2] == wire[:2]
        assert dns.message.from_wire(answer).flags & dns.flags.QR
        assert len(chunks) == 2
