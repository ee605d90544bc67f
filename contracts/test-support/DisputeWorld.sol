// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {IDisputeEvaluator} from "../interfaces/IDisputeEvaluator.sol";
import {IJobEscrow} from "../interfaces/IJobEscrow.sol";
import {JobWorld} from "./JobWorld.sol";

/// @notice A job escrow with its evaluator of disputes and twelve verifiers, and jobs at any point of a dispute.
abstract contract DisputeWorld is JobWorld {
    uint96 internal constant SEAT = 5_000_000;
    uint32 internal constant MIN_WINDOW = 60;
    uint256 internal constant VERIFIERS = 12;
    uint256 internal constant ARBITRATOR_KEY = 0xA4B;
    uint96 internal constant BOND = 1_000_001;

    IDisputeEvaluator internal judge;
    address internal agent;
    address internal arbitrator;

    function buildDisputes() internal {
        buildJobs();
        judge = IDisputeEvaluator(
            deploy("DisputeEvaluator.sol:DisputeEvaluator", abi.encode(address(escrow), address(token), SEAT, MIN_WINDOW))
        );
        evaluator = address(judge);
        (agent, arbitrator) = (vm.addr(AGENT_KEY), vm.addr(ARBITRATOR_KEY));
        address[3] memory parties = [client, provider, agent];
        for (uint256 i = 0; i < 3; i++) {
            _allow(parties[i], i == 0 ? 0 : WEALTH);
        }
        for (uint256 i = 0; i < VERIFIERS; i++) {
            _allow(verifier(i), 1e12);
            vm.prank(verifier(i));
            judge.bond(uint96(SEAT * (1 + i % 4) + i));
        }
    }

    function _allow(address account, uint256 amount) private {
        token.mint(account, amount);
        vm.prank(account);
        token.approve(address(judge), type(uint256).max);
    }

    function verifierKey(uint256 i) internal pure returns (uint256) {
        return 0x7E51F1E0 + i;
    }

    function verifier(uint256 i) internal pure returns (address) {
        return vm.addr(verifierKey(i));
    }

    function keyOf(address account) internal pure returns (uint256) {
        for (uint256 i = 0; i < VERIFIERS; i++) {
            if (verifier(i) == account) return verifierKey(i);
        }
        return STRANGER_KEY;
    }

    // ------------------------------------------------------------------ jobs

    function panelTerms() internal view returns (IDisputeEvaluator.Terms memory) {
        return IDisputeEvaluator.Terms(1_000, 500, 400, 300, 3, 2, 4_000, BOND, address(0), agent);
    }

    function arbitratorTerms() internal view returns (IDisputeEvaluator.Terms memory) {
        return IDisputeEvaluator.Terms(1_000, 500, 400, 0, 0, 0, 4_000, BOND, arbitrator, agent);
    }

    function jobTerms(IDisputeEvaluator.Terms memory t) internal view returns (IJobEscrow.HireTerms memory h) {
        h = terms();
        (h.hook, h.optParams) = (address(judge), abi.encode(t));
    }

    function submitted(IDisputeEvaluator.Terms memory t) internal returns (uint256 jobId) {
        jobId = hire(jobTerms(t));
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "");
    }

    function disputed(IDisputeEvaluator.Terms memory t) internal returns (uint256 jobId) {
        jobId = submitted(t);
        vm.prank(client);
        judge.dispute(jobId, "evidence");
    }

    function drawn() internal returns (uint256 jobId) {
        jobId = disputed(panelTerms());
        drawNext();
    }

    function drawNext() internal {
        vm.roll(block.number + judge.SEED_DELAY() + 1);
        judge.draw();
    }

    // ------------------------------------------------------------------ votes

    function commitmentOf(uint256 jobId, uint256 seat, uint16 bps) internal view returns (bytes32) {
        uint256 round = judge.caseOf(jobId).round;
        address who = judge.panelOf(jobId, round)[seat].verifier;
        return keccak256(abi.encode(jobId, round, who, bps, REASON, bytes32(seat)));
    }

    function commit(uint256 jobId, uint256 seat, uint16 bps) internal {
        bytes32 commitment = commitmentOf(jobId, seat, bps);
        address who = judge.panelOf(jobId, judge.caseOf(jobId).round)[seat].verifier;
        vm.prank(who);
        judge.commitVote(jobId, seat, commitment);
    }

    function reveal(uint256 jobId, uint256 seat, uint16 bps) internal {
        judge.revealVote(jobId, seat, bps, REASON, bytes32(seat));
    }

    /// @notice All of the panel votes so, and the round is over at once.
    function voteAll(uint256 jobId, uint16[] memory votes) internal {
        for (uint256 i = 0; i < votes.length; i++) {
            commit(jobId, i, votes[i]);
        }
        for (uint256 i = 0; i < votes.length; i++) {
            reveal(jobId, i, votes[i]);
        }
    }

    function three(uint16 a, uint16 b, uint16 c) internal pure returns (uint16[] memory votes) {
        votes = new uint16[](3);
        (votes[0], votes[1], votes[2]) = (a, b, c);
    }

    // ------------------------------------------------------------------ signatures

    function judgeDigest(bytes memory encoded) internal view returns (bytes32) {
        bytes32 domain = Digests.domain("Tallystick Dispute Evaluator", "1", address(judge));
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(encoded)));
    }

    function bondAuthorization(uint256 key, uint256 amount, bytes32 digest) internal view returns (bytes memory) {
        bytes32 nonce = keccak256(abi.encode(digest, bytes32("salt")));
        bytes32 toSign = Digests.receiveWithAuthorization(
            token.DOMAIN_SEPARATOR(), vm.addr(key), address(judge), amount, 0, FOREVER, nonce
        );
        return abi.encode(uint256(0), FOREVER, bytes32("salt"), signature(key, toSign));
    }

    // ------------------------------------------------------------------ books

    /// @notice What the evaluator must hold: stakes, bonds that are not yet divided, shares not yet given out, what it owes.
    function mustHold(uint256 jobs, address[] memory others) internal view returns (uint256 sum) {
        for (uint256 i = 0; i < VERIFIERS; i++) {
            IDisputeEvaluator.Verifier memory v = judge.verifiers(verifier(i));
            sum += uint256(v.free) + v.locked + judge.owed(verifier(i));
        }
        for (uint256 i = 0; i < others.length; i++) {
            sum += judge.owed(others[i]);
        }
        for (uint256 jobId = 1; jobId <= jobs; jobId++) {
            IDisputeEvaluator.Case memory c = judge.caseOf(jobId);
            for (uint256 n = 1; n <= c.round; n++) {
                IDisputeEvaluator.Round memory round = judge.roundOf(jobId, n);
                if (round.endedAt == 0) sum += round.bond / 2;
                if (c.phase == IDisputeEvaluator.Phase.Disputed) sum += round.bond - round.bond / 2;
                if (round.endedAt == 0 || round.released) continue;
                uint256 earners = round.excused ? round.seats : round.revealed;
                // A lost bond is still among its verifier's locked ones until the seats are released.
                sum = sum + round.share * earners - (round.seats - earners) * SEAT;
            }
        }
    }

    function parties() internal view returns (address[] memory others) {
        others = new address[](4);
        (others[0], others[1], others[2], others[3]) = (client, provider, agent, arbitrator);
    }

    function checkJudgeBooks() internal view {
        vm.assertEq(token.balanceOf(address(judge)), mustHold(escrow.jobCount(), parties()), "bonds are conserved");
    }
}
