// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IACPHook} from "./interfaces/IACPHook.sol";
import {IERC8183} from "./interfaces/IERC8183.sol";
import {IJobEscrow} from "./interfaces/IJobEscrow.sol";
import {JobWorld} from "./test-support/JobWorld.sol";
import {ScriptedHook} from "./test-support/Hooks.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";

/// @notice Hooks and tokens that misbehave, and the faults that the ERC's public reference was found to have.
contract JobEscrowHostileTest is JobWorld {
    function setUp() public {
        buildJobs();
    }

    function _call(address sender, bytes memory data) private returns (bool ok, bytes memory why) {
        vm.prank(sender);
        (ok, why) = address(escrow).call(data);
    }

    // ------------------------------------------------------------------ known faults of the reference

    /// @notice There, an open job with a budget is refunded after expiry although nobody paid: out of other jobs' money.
    function test_neverFundedJobRefundsNothing() public {
        hire(terms());
        vm.prank(stranger);
        uint256 jobId = escrow.createJob(provider, evaluator, EXPIRY, "", address(0));
        vm.prank(stranger);
        escrow.setBudget(jobId, BUDGET, "");
        vm.warp(EXPIRY);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongStatus.selector, jobId, IERC8183.JobStatus.Open));
        vm.prank(stranger);
        escrow.claimRefund(jobId);
        vm.prank(stranger);
        escrow.reject(jobId, REASON, "");
        vm.assertEq(token.balanceOf(stranger), 0, "nothing paid in, nothing out");
        vm.assertEq(held(), BUDGET, "the other job's budget");
    }

    /// @notice There, setBudget also sets the token, so a provider can make the client's next `fund` pay in another one.
    function test_providerCannotChangeWhatIsPaid() public {
        uint256 jobId = jobIn(IERC8183.JobStatus.Open);
        // The ERC's selector with a token in it is not there at all.
        (bool ok,) = _call(
            provider, abi.encodeWithSignature("setBudget(uint256,address,uint256,bytes)", jobId, address(1), BUDGET, "")
        );
        vm.assertTrue(!ok, "no such verb");
        vm.prank(provider);
        escrow.setBudget(jobId, BUDGET * 50, "");
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.BudgetMismatch.selector, jobId, BUDGET, BUDGET * 50));
        vm.prank(client);
        escrow.fund(jobId, BUDGET, "");
        vm.assertEq(escrow.token(), address(token), "one token");
    }

    /// @notice There, work can be handed in after expiry and the client has it for nothing: refused, so the provider knows.
    function test_lateSubmissionIsRefused() public {
        uint256 jobId = hire(terms());
        vm.warp(EXPIRY);
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.JobHasExpired.selector, jobId, EXPIRY, EXPIRY));
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "");
    }

    /// @notice There, an open job without a budget can be submitted and so completed, never having been funded.
    function test_openJobCannotBeSubmitted() public {
        uint256 jobId = openJob();
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.WrongStatus.selector, jobId, IERC8183.JobStatus.Open));
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "");
    }

    // ------------------------------------------------------------------ hooks

    function test_hooksSeeWhatTheErcSays() public {
        IJobEscrow.HireTerms memory t = hookedTerms();
        vm.startPrank(client);
        uint256 jobId = escrow.createJob(address(0), evaluator, EXPIRY, "", t.hook);
        escrow.setProvider(jobId, provider, "p");
        escrow.setBudget(jobId, BUDGET, "b");
        escrow.fund(jobId, BUDGET, "f");
        vm.stopPrank();
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "s");
        vm.prank(evaluator);
        escrow.complete(jobId, REASON, "c");
        bytes4[5] memory verbs = [
            IERC8183.setProvider.selector,
            IERC8183.setBudget.selector,
            IERC8183.fund.selector,
            IERC8183.submit.selector,
            IERC8183.complete.selector
        ];
        bytes[5] memory data = [
            abi.encode(provider, bytes("p")),
            abi.encode(BUDGET, bytes("b")),
            bytes("f"),
            abi.encode(DELIVERABLE, bytes("s")),
            abi.encode(REASON, bytes("c"))
        ];
        vm.assertEq(hook.count(), 10, "callbacks");
        for (uint256 i = 0; i < 10; i++) {
            ScriptedHook.Seen memory seen = hook.seen(i);
            vm.assertEq(seen.after_, i % 2 == 1, "before, then after");
            vm.assertEq(seen.jobId, jobId, "job");
            vm.assertEq(bytes32(seen.selector), bytes32(verbs[i / 2]), "verb");
            vm.assertEq(seen.data, data[i / 2], "data");
        }
        hook.forget();
        jobId = jobIn(IERC8183.JobStatus.Rejected, t);
        vm.assertEq(hook.count(), 6, "setBudget, fund, reject");
        vm.assertEq(bytes32(hook.seen(5).selector), bytes32(IERC8183.reject.selector), "reject");
        vm.assertEq(hook.seen(5).data, abi.encode(REASON, bytes("")), "reject's data");
        jobId = jobIn(IERC8183.JobStatus.Submitted, t);
        hook.forget();
        vm.prank(evaluator);
        escrow.completeSplit(jobId, 1, REASON, "x");
        vm.assertEq(bytes32(hook.seen(0).selector), bytes32(IERC8183.complete.selector), "a split is a completion");
    }

    /// @notice Whatever a hook does, verbs are refused as a whole, and the refund after expiry is not.
    function test_hooksBlockVerbsButNoRefund() public {
        for (uint256 mode = 1; mode < 5; mode++) {
            hook.setMode(ScriptedHook.Mode.Honest);
            vm.warp(START);
            IJobEscrow.HireTerms memory t = hookedTerms();
            uint256[3] memory jobs = [
                jobIn(IERC8183.JobStatus.Open, t), jobIn(IERC8183.JobStatus.Funded, t), jobIn(IERC8183.JobStatus.Submitted, t)
            ];
            hook.setMode(ScriptedHook.Mode(mode));
            _blocked(client, jobs[0], abi.encodeCall(escrow.setBudget, (jobs[0], 1, "")), mode);
            _blocked(client, jobs[0], abi.encodeCall(escrow.fund, (jobs[0], BUDGET, "")), mode);
            _blocked(client, jobs[0], abi.encodeCall(escrow.reject, (jobs[0], REASON, "")), mode);
            _blocked(provider, jobs[1], abi.encodeCall(escrow.submit, (jobs[1], DELIVERABLE, "")), mode);
            _blocked(evaluator, jobs[1], abi.encodeCall(escrow.reject, (jobs[1], REASON, "")), mode);
            _blocked(evaluator, jobs[2], abi.encodeCall(escrow.complete, (jobs[2], REASON, "")), mode);
            vm.warp(EXPIRY);
            escrow.claimRefund(jobs[1]);
            escrow.claimRefund(jobs[2]);
            vm.assertEq(token.balanceOf(client), WEALTH, "refunded");
        }
    }

    function _blocked(address sender, uint256 jobId, bytes memory data, uint256 mode) private {
        bytes memory before = abi.encode(escrow.getJob(jobId), held());
        (bool ok, bytes memory why) = _call(sender, data);
        vm.assertTrue(!ok, "blocked");
        vm.assertEq(bytes32(errorOf(why)), bytes32(IJobEscrow.HookFailed.selector), "by the hook");
        bytes memory afterwards = abi.encode(escrow.getJob(jobId), held());
        vm.assertEq(before, afterwards, "nothing changed");
        if (mode > 2) return;
        bytes4 verb = errorOf(data);
        bytes memory inner = abi.encodeWithSelector(ScriptedHook.Refused.selector, verb);
        vm.assertEq(why, abi.encodeWithSelector(IJobEscrow.HookFailed.selector, address(hook), verb, inner), "why");
    }

    /// @notice A hook gets HOOK_GAS whatever the sender leaves, or the verb is refused for want of gas.
    function testFuzz_nobodyStarvesAHook(uint256 gasLimit) public {
        IJobEscrow.HireTerms memory t = hookedTerms();
        uint256 jobId = hire(t);
        hook.setThreshold(escrow.HOOK_GAS() - 2_000);
        gasLimit = bound(gasLimit, 30_000, 1_500_000);
        vm.prank(provider);
        (bool ok, bytes memory why) =
            address(escrow).call{gas: gasLimit}(abi.encodeCall(escrow.submit, (jobId, DELIVERABLE, "")));
        if (ok || why.length == 0) return;
        vm.assertEq(bytes32(errorOf(why)), bytes32(IJobEscrow.InsufficientGas.selector), "never the hook's refusal");
    }

    /// @notice From a hook or a token, no verb of the escrow can be reached, for the same job or for another.
    function test_reentryIsRefused() public {
        IJobEscrow.HireTerms memory t = hookedTerms();
        t.evaluator = address(hook);
        uint256 victim = jobIn(IERC8183.JobStatus.Submitted, t);
        uint256 jobId = hire(t);
        bytes[4] memory attempts = [
            abi.encodeCall(escrow.complete, (victim, REASON, "")),
            abi.encodeCall(escrow.reject, (jobId, REASON, "")),
            abi.encodeCall(escrow.claimRefund, (victim)),
            abi.encodeCall(escrow.createJob, (provider, evaluator, EXPIRY, "", address(0)))
        ];
        for (uint256 i = 0; i < 4; i++) {
            uint256 snapshot = vm.snapshotState();
            if (i == 2) vm.warp(EXPIRY - 1);
            hook.setReentry(address(escrow), attempts[i]);
            vm.prank(provider);
            escrow.submit(jobId, DELIVERABLE, "");
            vm.assertEq(hook.reentries(), 2, "tried before and after");
            vm.assertTrue(!hook.reentered(), "refused");
            vm.assertEq(uint256(statusOf(victim)), uint256(IERC8183.JobStatus.Submitted), "untouched");
            token.setHook(address(escrow), attempts[i]);
            hook.setMode(ScriptedHook.Mode.Honest);
            vm.warp(EXPIRY);
            escrow.claimRefund(jobId);
            vm.assertTrue(!token.hookOk(), "refused in a transfer");
            vm.assertEq(held(), BUDGET, "paid once");
            vm.revertToState(snapshot);
        }
    }

    /// @notice A hook without code would pass for one that agrees.
    function test_hookThatLosesItsCode() public {
        uint256 jobId = hire(hookedTerms());
        vm.etch(address(hook), "");
        vm.expectRevert(abi.encodeWithSelector(IJobEscrow.InvalidHook.selector, address(hook)));
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "");
        vm.warp(EXPIRY);
        escrow.claimRefund(jobId);
    }

    // ------------------------------------------------------------------ tokens

    function test_tokensThatLieWhenTheyComeIn() public {
        ScriptedToken.Mode[6] memory modes = [
            ScriptedToken.Mode.FeeOnTransfer,
            ScriptedToken.Mode.ReturnsFalse,
            ScriptedToken.Mode.Overpays,
            ScriptedToken.Mode.ReturnsGarbage,
            ScriptedToken.Mode.MovesAndReturnsFalse,
            ScriptedToken.Mode.Paused
        ];
        uint256 open = jobIn(IERC8183.JobStatus.Open);
        IJobEscrow.HireTerms memory t = terms();
        for (uint256 i = 0; i < 6; i++) {
            token.setMode(modes[i]);
            (bool ok,) = _call(client, abi.encodeCall(escrow.fund, (open, BUDGET, "")));
            vm.assertTrue(!ok, "fund");
            (ok,) = _call(client, abi.encodeCall(escrow.hire, (t)));
            vm.assertTrue(!ok, "hire");
            (ok,) = _call(
                stranger,
                abi.encodeCall(escrow.hireWithAuthorization, (client, t, authorizationOf(CLIENT_KEY, client, t, "")))
            );
            // By ERC-3009 a token's boolean is nothing that anybody reads: what counts is what came in.
            if (ok) vm.assertTrue(i == 3 || i == 4, "hireWithAuthorization");
            vm.assertEq(held(), escrow.jobCount() == 1 ? 0 : (escrow.jobCount() - 1) * BUDGET, "held");
        }
        token.setMode(ScriptedToken.Mode.FeeOnTransfer);
        uint256 had = held();
        vm.expectRevert(
            abi.encodeWithSelector(IJobEscrow.WrongTokenBalance.selector, had + BUDGET - (BUDGET + 99) / 100, had + BUDGET)
        );
        hire(t);
        token.setMode(ScriptedToken.Mode.NoReturnData);
        hire(t);
    }

    /// @notice A payment that the token refuses leaves the job as it was: it can be paid later.
    function test_refusedPaymentsCanBeRepeated() public {
        uint256 jobId = jobIn(IERC8183.JobStatus.Submitted);
        token.setBlacklisted(provider);
        vm.expectRevert(abi.encodeWithSelector(ScriptedToken.Blacklisted.selector, provider));
        vm.prank(evaluator);
        escrow.complete(jobId, REASON, "");
        token.setMode(ScriptedToken.Mode.Honest);
        vm.prank(evaluator);
        escrow.complete(jobId, REASON, "");
        vm.assertEq(token.balanceOf(provider), BUDGET, "paid");
    }

    function test_interfaceOfHooks() public pure {
        bytes4 before = bytes4(keccak256("beforeAction(uint256,bytes4,bytes)"));
        bytes4 after_ = bytes4(keccak256("afterAction(uint256,bytes4,bytes)"));
        vm.assertEq(bytes32(type(IACPHook).interfaceId), bytes32(before ^ after_), "IACPHook");
    }
}
