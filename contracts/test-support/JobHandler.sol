// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC8183} from "../interfaces/IERC8183.sol";
import {IJobEscrow} from "../interfaces/IJobEscrow.sol";
import {IJobOutcomes} from "../interfaces/IJobOutcomes.sol";
import {JobWorld} from "./JobWorld.sol";
import {ScriptedHook} from "./Hooks.sol";
import {ScriptedToken} from "./Tokens.sol";

/// @notice Random histories of an escrow: several jobs at once, half of them with a hook, whose hook and token misbehave now and
/// then. What the tokens did is held against each job's own books after every call.
contract JobHandler is JobWorld {
    mapping(uint256 jobId => uint256) private paidIn;
    mapping(uint256 jobId => uint256) private paidOut;
    mapping(uint256 jobId => uint256) private providerGot;
    mapping(bytes4 verb => uint256) public effects;

    constructor() {
        buildJobs(100, vm.addr(0x7EA5));
    }

    function create(uint256 seed) external {
        IJobEscrow.HireTerms memory t = _terms(seed);
        _do(client, 0, abi.encodeCall(escrow.createJob, (t.provider, t.evaluator, t.expiredAt, "job", t.hook)));
    }

    function hireJob(uint256 seed) external {
        IJobEscrow.HireTerms memory t = _terms(seed);
        if (seed % 3 != 0) _do(client, 0, abi.encodeCall(escrow.hire, (t)));
        else {
            bytes memory authorization = authorizationOf(CLIENT_KEY, client, t, bytes32(seed));
            _do(stranger, 0, abi.encodeCall(escrow.hireWithAuthorization, (client, t, authorization)));
        }
    }

    function act(uint256 seed) external {
        uint256 jobId = _job(seed);
        if (jobId == 0) return;
        uint256 verb = random(seed, "verb") % 9;
        bytes[9] memory calls = [
            abi.encodeCall(escrow.setBudget, (jobId, random(seed, "budget") % 1e9, "")),
            abi.encodeCall(escrow.fund, (jobId, _budget(jobId), "")),
            abi.encodeCall(escrow.submit, (jobId, DELIVERABLE, "")),
            abi.encodeCall(escrow.submit, (jobId, DELIVERABLE, "")),
            abi.encodeCall(escrow.complete, (jobId, REASON, "")),
            abi.encodeCall(escrow.completeSplit, (jobId, uint16(random(seed, "bps") % 10_001), REASON, "")),
            abi.encodeCall(escrow.reject, (jobId, REASON, "")),
            abi.encodeCall(escrow.claimRefund, (jobId)),
            abi.encodeCall(escrow.setProvider, (jobId, provider, ""))
        ];
        _do(seed % 4 == 0 ? _anybody(seed) : _rightful(verb, jobId), jobId, calls[verb]);
    }

    function setHook(uint256 seed) external {
        if (seed % 3 != 0) return hook.setMode(ScriptedHook.Mode.Honest);
        uint256 jobId = _job(seed);
        bytes[3] memory calls = [
            abi.encodeCall(escrow.claimRefund, (jobId)),
            abi.encodeCall(escrow.complete, (jobId, REASON, "")),
            abi.encodeCall(escrow.reject, (jobId, REASON, ""))
        ];
        hook.setReentry(address(escrow), calls[seed % 3]);
        if (seed % 2 == 0) hook.setMode(ScriptedHook.Mode(seed % 6));
    }

    function setToken(uint256 seed) external {
        if (seed % 4 != 0) return token.setMode(ScriptedToken.Mode.Honest);
        if (seed % 8 == 0) return token.setBlacklisted(seed % 16 == 0 ? provider : client);
        token.setHook(address(escrow), abi.encodeCall(escrow.claimRefund, (_job(seed))));
    }

    function warp(uint256 seed) external {
        vm.warp(block.timestamp + bound(seed, 1, 6 hours));
    }

    // ------------------------------------------------------------------ what must hold

    /// @notice The balance is the sum of the budgets of funded and submitted jobs; an open job was never paid for; a job that is
    /// over paid out its budget, once; what the escrow tells of it is what its provider got.
    function checkBooks() external view {
        uint256 sum;
        for (uint256 jobId = 1; jobId <= escrow.jobCount(); jobId++) {
            IJobEscrow.JobState memory job = escrow.stateOf(jobId);
            bool holds = job.status == IERC8183.JobStatus.Funded || job.status == IERC8183.JobStatus.Submitted;
            if (holds) sum += job.budget;
            if (job.status == IERC8183.JobStatus.Open) vm.assertEq(paidIn[jobId], 0, "open: nothing in");
            if (holds) vm.assertEq(paidIn[jobId], job.budget, "budget in");
            vm.assertEq(paidOut[jobId], holds ? 0 : paidIn[jobId], "out once, when it is over");
            (,,, uint128 paid, bool terminal) = IJobOutcomes(address(escrow)).jobOutcome(jobId);
            // Who hires itself also gets the client's rest.
            if (job.provider != client) vm.assertEq(paid, providerGot[jobId], "what the provider got");
            vm.assertTrue(terminal == (!holds && job.status != IERC8183.JobStatus.Open), "terminal");
        }
        vm.assertEq(held(), sum, "balance is the sum of open budgets");
    }

    /// @notice Every job that is due is refunded at once, whatever hooks and honest tokens do.
    function checkRefunds() external {
        uint256 snapshot = vm.snapshotState();
        token.setMode(ScriptedToken.Mode.Honest);
        hook.setMode(ScriptedHook.Mode.BurnsGas);
        vm.warp(block.timestamp + 400 days);
        for (uint256 jobId = 1; jobId <= escrow.jobCount(); jobId++) {
            IERC8183.JobStatus status = statusOf(jobId);
            if (status == IERC8183.JobStatus.Funded || status == IERC8183.JobStatus.Submitted) escrow.claimRefund(jobId);
        }
        vm.assertEq(held(), 0, "all refunded");
        vm.revertToState(snapshot);
    }

    // ------------------------------------------------------------------ doing

    /// @dev Books the change of the escrow's balance to the job, and holds the status against the ERC's transitions.
    function _do(address sender, uint256 jobId, bytes memory data) private {
        (uint256 before, uint256 had) = (held(), token.balanceOf(provider));
        IERC8183.JobStatus from = jobId == 0 ? IERC8183.JobStatus.Open : statusOf(jobId);
        vm.prank(sender);
        (bool ok,) = address(escrow).call(data);
        uint256 now_ = held();
        vm.assertTrue(ok || now_ == before, "a refusal moves nothing");
        if (ok) effects[errorOf(data)]++;
        else if (jobId == 0) return;
        if (jobId == 0) jobId = escrow.jobCount();
        if (now_ > before) paidIn[jobId] += now_ - before;
        else paidOut[jobId] += before - now_;
        providerGot[jobId] += token.balanceOf(provider) - had;
        _checkTransition(from, statusOf(jobId), ok);
    }

    function _checkTransition(IERC8183.JobStatus from, IERC8183.JobStatus to, bool ok) private pure {
        if (from == to) return;
        vm.assertTrue(ok, "a refusal changes nothing");
        // Bit t of row f: f may become t.
        uint8[6] memory allowed = [2 + 16, 4 + 16 + 32, 8 + 16 + 32, 0, 0, 0];
        vm.assertTrue(allowed[uint256(from)] >> uint256(to) & 1 == 1, "transition");
    }

    function _terms(uint256 seed) private view returns (IJobEscrow.HireTerms memory t) {
        t = seed % 2 == 0 ? terms() : hookedTerms();
        t.budget = bound(random(seed, "budget"), 1, 1e9);
        t.expiredAt = block.timestamp + bound(random(seed, "expiry"), 1, 2 days);
        if (seed % 5 == 0) t.evaluator = client;
        if (seed % 7 == 0) t.provider = client;
    }

    function _job(uint256 seed) private view returns (uint256) {
        uint256 count = escrow.jobCount();
        return count == 0 ? 0 : 1 + random(seed, "job") % count;
    }

    function _budget(uint256 jobId) private view returns (uint256) {
        return jobId == 0 ? 0 : escrow.stateOf(jobId).budget;
    }

    /// @dev Who may do verb number `verb` of `act` if anybody may.
    function _rightful(uint256 verb, uint256 jobId) private view returns (address) {
        IJobEscrow.JobState memory job = escrow.stateOf(jobId);
        if (verb == 2 || verb == 3) return job.provider;
        if (verb == 6) return job.status == IERC8183.JobStatus.Open ? job.client : job.evaluator;
        return verb == 4 || verb == 5 ? job.evaluator : job.client;
    }

    function _anybody(uint256 seed) private view returns (address) {
        uint256 who = random(seed, "sender") % 4;
        if (who == 0) return client;
        if (who == 1) return provider;
        return who == 2 ? evaluator : stranger;
    }
}
