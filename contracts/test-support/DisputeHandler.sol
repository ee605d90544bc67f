// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DisputeWorld} from "./DisputeWorld.sol";
import {IDisputeEvaluator} from "../interfaces/IDisputeEvaluator.sol";
import {IERC8183} from "../interfaces/IERC8183.sol";
import {IJobEscrow} from "../interfaces/IJobEscrow.sol";

/// @notice Random histories of disputes: jobs with panels and arbitrators, verifiers that vote, forget, come and go, parties that
/// dispute, concede and escalate, and a clock. Refused calls are part of the history.
contract DisputeHandler is DisputeWorld {
    mapping(bytes4 verb => uint256) public effects;

    constructor() {
        buildDisputes();
    }

    function start(uint256 seed) external {
        if (escrow.jobCount() > 12) return;
        IDisputeEvaluator.Terms memory t = seed % 4 == 0 ? arbitratorTerms() : panelTerms();
        t.reviewWindow = uint32(bound(random(seed, "review"), MIN_WINDOW, 2_000));
        t.commitWindow = uint32(bound(random(seed, "commit"), MIN_WINDOW, 2_000));
        t.revealWindow = uint32(bound(random(seed, "reveal"), MIN_WINDOW, 2_000));
        if (t.panelSize != 0) t.escalationWindow = uint32(bound(random(seed, "escalation"), MIN_WINDOW, 2_000));
        t.defaultBps = uint16(random(seed, "default") % 10_001);
        IJobEscrow.HireTerms memory h = jobTerms(t);
        h.expiredAt = block.timestamp + bound(random(seed, "expiry"), judge.spanOf(t), 20_000);
        _do(client, address(escrow), abi.encodeCall(escrow.hire, (h)));
        uint256 jobId = escrow.jobCount();
        if (jobId != 0) _do(provider, address(escrow), abi.encodeCall(escrow.submit, (jobId, DELIVERABLE, "")));
    }

    function act(uint256 seed) external {
        uint256 jobId = _job(seed);
        if (jobId == 0) return;
        address party = [client, provider, agent, stranger][random(seed, "party") % 4];
        uint256 verb = random(seed, "verb") % 10;
        if (verb < 3) _do(seed % 2 == 0 ? client : agent, address(judge), abi.encodeCall(judge.dispute, (jobId, "e")));
        else if (verb == 3) _do(party, address(judge), abi.encodeCall(judge.concede, (jobId)));
        else if (verb < 6) _do(party, address(judge), abi.encodeCall(judge.escalate, (jobId)));
        else if (verb == 6) _do(stranger, address(judge), abi.encodeCall(judge.finalize, (jobId)));
        else if (verb == 7) _do(stranger, address(judge), abi.encodeCall(judge.resolve, (jobId)));
        else if (verb == 8) _do(stranger, address(judge), abi.encodeCall(judge.releaseSeats, (jobId, 1 + seed % 2)));
        else _do(arbitrator, address(judge), abi.encodeCall(judge.rule, (jobId, uint16(seed % 10_001), REASON)));
    }

    function drawPanel(uint256 seed) external {
        vm.roll(block.number + seed % 5);
        _do(stranger, address(judge), abi.encodeCall(judge.draw, ()));
    }

    /// @notice Some of a panel vote; some of those reveal.
    function vote(uint256 seed) external {
        uint256 jobId = _job(seed);
        if (jobId == 0) return;
        uint256 seats = judge.panelOf(jobId, judge.caseOf(jobId).round).length;
        for (uint256 i = 0; i < seats; i++) {
            uint256 chance = random(seed, i);
            if (chance % 8 == 0) continue;
            uint16 bps = uint16(uint256(keccak256(abi.encode(jobId, i))) % 10_001);
            bytes32 commitment = commitmentOf(jobId, i, bps);
            address who = judge.panelOf(jobId, judge.caseOf(jobId).round)[i].verifier;
            if (seed % 2 == 0) _do(who, address(judge), abi.encodeCall(judge.commitVote, (jobId, i, commitment)));
            else _do(stranger, address(judge), abi.encodeCall(judge.revealVote, (jobId, i, bps, REASON, bytes32(i))));
        }
    }

    function stake(uint256 seed) external {
        address who = verifier(seed % VERIFIERS);
        uint96 amount = uint96(bound(random(seed, "amount"), 1, SEAT * 3));
        if (seed % 3 == 0) _do(who, address(judge), abi.encodeCall(judge.unbond, (amount)));
        else if (seed % 3 == 1) _do(who, address(judge), abi.encodeCall(judge.bond, (amount)));
        else _do(stranger, address(judge), abi.encodeCall(judge.withdraw, (seed % 2 == 0 ? who : client)));
    }

    function warp(uint256 seed) external {
        vm.warp(block.timestamp + bound(seed, 1, 1_500));
    }

    // ------------------------------------------------------------------ what must hold

    function checkBooks() external view {
        checkJudgeBooks();
        uint256 lots;
        uint256 seated;
        for (uint256 i = 0; i < VERIFIERS; i++) {
            uint256 own = judge.verifiers(verifier(i)).free / SEAT;
            lots += own;
            if (own != 0) seated++;
        }
        (uint256 verifierCount, uint256 seats) = judge.seatsAvailable();
        vm.assertEq(seats, lots, "lots");
        vm.assertEq(verifierCount, seated, "verifiers with lots");
    }

    /// @notice From wherever a job is, there is a second before its expiry in which anyone ends it as it should end: by silence
    /// when nobody disputed, by a ruling when somebody did, whatever the panel does from here on.
    function checkFinality() external {
        for (uint256 jobId = 1; jobId <= escrow.jobCount(); jobId++) {
            IDisputeEvaluator.Case memory c = judge.caseOf(jobId);
            uint256 expiry = escrow.stateOf(jobId).expiredAt;
            bool review = c.phase == IDisputeEvaluator.Phase.Review;
            if ((!review && c.phase != IDisputeEvaluator.Phase.Disputed) || block.timestamp >= expiry) continue;
            uint256 snapshot = vm.snapshotState();
            vm.warp(expiry - MIN_WINDOW > block.timestamp ? expiry - MIN_WINDOW : block.timestamp);
            if (review) judge.finalize(jobId);
            else judge.resolve(jobId);
            IERC8183.JobStatus status = statusOf(jobId);
            if (review) vm.assertEq(uint256(status), uint256(IERC8183.JobStatus.Completed), "silence completes");
            vm.assertTrue(status == IERC8183.JobStatus.Completed || status == IERC8183.JobStatus.Rejected, "ruled in time");
            checkJudgeBooks();
            vm.revertToState(snapshot);
        }
    }

    // ------------------------------------------------------------------ doing

    function _do(address sender, address target, bytes memory data) private {
        vm.prank(sender);
        (bool ok,) = target.call(data);
        if (ok) effects[errorOf(data)]++;
    }

    function _job(uint256 seed) private view returns (uint256) {
        uint256 count = escrow.jobCount();
        return count == 0 ? 0 : 1 + random(seed, "job") % count;
    }
}
