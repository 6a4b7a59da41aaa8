// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISwarm} from "../src/interfaces/ISwarm.sol";
import {BaseTest} from "./BaseTest.sol";

/// @dev What every vote needs, whatever it decides.
contract ExecuteTest is BaseTest {
    function setUp() public {
        start(5);
    }

    function stopVote() private view returns (ISwarm.Vote memory) {
        return voteOn(ISwarm.VoteKind.STOP, address(0), 0);
    }

    /// @dev Signatures that only another contract's call shows could not be audited.
    function testNotThroughAContract() public {
        ISwarm.Vote memory vote = stopVote();
        bytes[] memory s = votedBy(vote, list(0, 1, 2));
        refuses(ISwarm.NotDirect.selector, address(this));
        swarm.execute(vote, s);
    }

    function testEachBallotIsUsedOnce() public {
        ISwarm.Vote memory one = voteOn(ISwarm.VoteKind.EXPEL, account(4), 0);
        ISwarm.Vote memory other = voteOn(ISwarm.VoteKind.EXPEL, account(3), 0);
        decide(one, list(0, 1, 2));
        bytes memory reason = abi.encodeWithSelector(ISwarm.WrongBallot.selector, 1);
        refuses(one, list(0, 1, 2), reason);
        refuses(other, list(0, 1, 2), reason);
        other.ballot = 2;
        refuses(other, list(0, 1, 2), reason);
        other.ballot = 1;
        decide(other, list(0, 1, 2));
        vm.assertEq(swarm.state().ballot, 2);
    }

    function testDeadlineIsInclusive() public {
        ISwarm.Vote memory vote = stopVote();
        vote.deadline = uint40(START + 10);
        passes(11);
        refuses(vote, list(0, 1, 2), abi.encodeWithSelector(ISwarm.VoteExpired.selector, START + 10));
        vm.warp(START + 10);
        decide(vote, list(0, 1, 2));
        phaseIs(ISwarm.Phase.STOPPED);
    }

    function testOnlyKindsThatThereAre(uint8 kind) public {
        kind = uint8(bound(kind, 5, 255));
        if (kind == 5) kind = 0;
        ISwarm.Vote memory vote = stopVote();
        vote.kind = kind;
        refuses(vote, list(0, 1, 2), abi.encodeWithSelector(ISwarm.BadVote.selector, kind, 0));
    }

    function testMoreThanHalfOfTheActive() public {
        refuses(stopVote(), list(0, 1), tooFewVotes(2, 5));
        enrol(5);
        refuses(stopVote(), list(0, 1, 5), tooFewVotes(3, 6));
        decide(stopVote(), list(0, 1, 5, 3));
        phaseIs(ISwarm.Phase.STOPPED);
    }

    /// @dev f + 1 members, whose signatures a merge needs, leave out as many as they may: and are no majority by that.
    function testExcludedMembersVote() public {
        submitAll(5, 0);
        merge(24);
        statusIs(3, ISwarm.Status.IDLE);
        refuses(stopVote(), list(0, 1), tooFewVotes(2, 5));
        decide(stopVote(), list(0, 3, 4));
    }

    function testIdleMembersDoNotVote() public {
        enrol(5, uint40(START + 10));
        enrol(6, uint40(START + 10));
        passes(11);
        swarm.advance(indexes(5, 6));
        statusIs(5, ISwarm.Status.IDLE);
        refuses(stopVote(), list(0, 1, 5), tooFewVotes(2, 5));
        decide(stopVote(), list(0, 1, 2));
    }

    function testExcludedMembersAreMadeIdleWhenTheyStayAway() public {
        enrol(5, uint40(START + 1000));
        submitAll(6, 0);
        merge(32);
        vm.assertEq(swarm.state().voters, 63);
        passes(1001);
        swarm.advance(indexes(5));
        vm.assertEq(swarm.state().voters, 31);
        refuses(ISwarm.NothingDue.selector);
        swarm.advance(indexes(5));
    }

    /// @dev They are among those that more than half is of until `advance` makes them IDLE, as anyone can.
    function testExpiredMembersDoNotVote() public {
        for (uint256 i = 5; i < 8; ++i) {
            enrol(i, uint40(START + 10));
        }
        passes(11);
        refuses(stopVote(), list(0, 5, 6, 7), tooFewVotes(1, 8));
        refuses(stopVote(), list(0, 1, 2, 3), tooFewVotes(4, 8));
        swarm.advance(indexes(5, 6));
        decide(stopVote(), list(0, 1, 2, 3));
    }

    /// @dev Founders have no say in votes unless they are members.
    function testFoundersVoteAsMembersOnly() public {
        leave(0);
        leave(1);
        refuses(stopVote(), list(0, 1, 2), tooFewVotes(1, 3));
        decide(stopVote(), list(2, 3));
    }

    function testAnyoneSendsIt() public {
        ISwarm.Vote memory vote = stopVote();
        bytes[] memory s = votedBy(vote, list(0, 1, 2));
        sentBy(address(0xbeef)).execute(vote, s);
        phaseIs(ISwarm.Phase.STOPPED);
    }
}
