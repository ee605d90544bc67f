// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC8183} from "./interfaces/IERC8183.sol";
import {IJobEscrow} from "./interfaces/IJobEscrow.sol";
import {JobDigests} from "./test-support/JobDigests.sol";
import {JobWorld} from "./test-support/JobWorld.sol";

/// @notice Every state, verb and caller, before and after the deadline: 7 x 12 x 5 x 2 cells, each against a table that was
/// written from the ERC's text and not from the code. A cell is a transition with its payments, or a named refusal that
/// changes nothing.
contract JobEscrowMatrixTest is JobWorld {
    /// Of the six states Open comes twice: with its provider, and still without.
    enum State {
        OpenWithoutProvider,
        Open,
        Funded,
        Submitted,
        Completed,
        Rejected,
        Expired
    }
    enum Verb {
        SetProvider,
        SetBudget,
        Fund,
        Submit,
        Complete,
        CompleteSplit,
        Reject,
        ClaimRefund,
        SubmitBySig,
        CompleteBySig,
        RejectBySig,
        FundWrongBudget
    }
    enum Caller {
        Client,
        Provider,
        Evaluator,
        Hook,
        Stranger
    }

    struct Outcome {
        /// Zero: it is done.
        bytes4 refusal;
        IERC8183.JobStatus status;
        int256 toClient;
        int256 toProvider;
    }

    uint256 private cells;
    uint256 private transitions;

    function setUp() public {
        buildJobs();
    }

    function test_everyCell() public {
        // Another job's budget lies in the pool all the while.
        hire(terms());
        for (uint256 state = 0; state < 7; state++) {
            for (uint256 verb = 0; verb < 12; verb++) {
                for (uint256 caller = 0; caller < 5; caller++) {
                    _cell(State(state), Verb(verb), Caller(caller), false);
                    _cell(State(state), Verb(verb), Caller(caller), true);
                }
            }
        }
        vm.assertEq(cells, 840, "cells");
        // By hand: setProvider 2, setBudget 6, fund 1, submit 2, complete 6, reject 16, claimRefund 10.
        vm.assertEq(transitions, 43, "cells that do something");
    }

    function _cell(State state, Verb verb, Caller caller, bool late) private {
        cells++;
        uint256 snapshot = vm.snapshotState();
        uint256 jobId = _jobIn(state);
        vm.warp(late ? EXPIRY : EXPIRY - 1);
        string memory where = string.concat(
            vm.toString(uint256(state)), "/", vm.toString(uint256(verb)), "/", vm.toString(uint256(caller)), late ? " late" : ""
        );
        Outcome memory expected = _expected(state, verb, caller, late);
        (uint256 clientHad, uint256 providerHad) = (token.balanceOf(client), token.balanceOf(provider));
        uint256 escrowHad = held();
        address sender = _address(caller);
        // Made before the prank: it asks the token and the cheatcodes.
        bytes memory data = _data(jobId, verb, caller);
        vm.prank(sender);
        (bool ok, bytes memory answer) = address(escrow).call(data);
        vm.assertEq(ok, expected.refusal == 0, where);
        vm.assertEq(bytes32(ok ? bytes4(0) : errorOf(answer)), bytes32(expected.refusal), where);
        vm.assertEq(uint256(statusOf(jobId)), uint256(expected.status), where);
        vm.assertTrue(int256(token.balanceOf(client)) == int256(clientHad) + expected.toClient, where);
        vm.assertTrue(int256(token.balanceOf(provider)) == int256(providerHad) + expected.toProvider, where);
        vm.assertTrue(int256(held()) == int256(escrowHad) - expected.toClient - expected.toProvider, where);
        uint256 done = ok ? transitions + 1 : transitions;
        uint256 seen = cells;
        vm.revertToState(snapshot);
        (transitions, cells) = (done, seen);
    }

    // ------------------------------------------------------------------ the table

    function _expected(State state, Verb verb, Caller caller, bool late) private pure returns (Outcome memory outcome) {
        outcome.status = _statusOf(state);
        bool open = state == State.Open || state == State.OpenWithoutProvider;
        bool holds = state == State.Funded || state == State.Submitted;
        int256 all = int256(BUDGET);

        if (verb == Verb.SetProvider) {
            if (!open) outcome.refusal = IJobEscrow.WrongStatus.selector;
            else if (caller != Caller.Client) outcome.refusal = IJobEscrow.NotClient.selector;
            else if (state == State.Open) outcome.refusal = IJobEscrow.ProviderAlreadySet.selector;
        } else if (verb == Verb.SetBudget) {
            bool may = caller == Caller.Client || (caller == Caller.Provider && state == State.Open);
            if (!open) outcome.refusal = IJobEscrow.WrongStatus.selector;
            else if (!may) outcome.refusal = IJobEscrow.NotClientOrProvider.selector;
        } else if (verb == Verb.Fund || verb == Verb.FundWrongBudget) {
            if (!open) outcome.refusal = IJobEscrow.WrongStatus.selector;
            else if (caller != Caller.Client) outcome.refusal = IJobEscrow.NotClient.selector;
            else if (state == State.OpenWithoutProvider) outcome.refusal = IJobEscrow.ProviderNotSet.selector;
            else if (verb == Verb.FundWrongBudget) outcome.refusal = IJobEscrow.BudgetMismatch.selector;
            else if (late) outcome.refusal = IJobEscrow.JobHasExpired.selector;
            else (outcome.status, outcome.toClient) = (IERC8183.JobStatus.Funded, -all);
        } else if (verb == Verb.Submit || verb == Verb.SubmitBySig) {
            bool signed = verb == Verb.SubmitBySig;
            if (signed && caller != Caller.Provider) outcome.refusal = IJobEscrow.InvalidSignature.selector;
            else if (signed && state == State.OpenWithoutProvider) outcome.refusal = IJobEscrow.InvalidSignature.selector;
            else if (state != State.Funded) outcome.refusal = IJobEscrow.WrongStatus.selector;
            else if (caller != Caller.Provider) outcome.refusal = IJobEscrow.NotProvider.selector;
            else if (late) outcome.refusal = IJobEscrow.JobHasExpired.selector;
            else outcome.status = IERC8183.JobStatus.Submitted;
        } else if (verb == Verb.Complete || verb == Verb.CompleteSplit || verb == Verb.CompleteBySig) {
            bool signed = verb == Verb.CompleteBySig;
            if (signed && caller != Caller.Evaluator) outcome.refusal = IJobEscrow.InvalidSignature.selector;
            else if (state != State.Submitted) outcome.refusal = IJobEscrow.WrongStatus.selector;
            else if (caller != Caller.Evaluator) outcome.refusal = IJobEscrow.NotEvaluator.selector;
            else (outcome.status, outcome.toProvider) = (IERC8183.JobStatus.Completed, all);
            if (outcome.refusal == 0 && verb == Verb.CompleteSplit) {
                outcome.toProvider = all * 2_500 / 10_000;
                outcome.toClient = all - outcome.toProvider;
            }
        } else if (verb == Verb.Reject || verb == Verb.RejectBySig) {
            Caller may = open ? Caller.Client : Caller.Evaluator;
            if (verb == Verb.RejectBySig && caller != may) outcome.refusal = IJobEscrow.InvalidSignature.selector;
            else if (!open && !holds) outcome.refusal = IJobEscrow.WrongStatus.selector;
            else if (caller != may) outcome.refusal = open ? IJobEscrow.NotClient.selector : IJobEscrow.NotEvaluator.selector;
            else (outcome.status, outcome.toClient) = (IERC8183.JobStatus.Rejected, holds ? all : int256(0));
        } else {
            if (!holds) outcome.refusal = IJobEscrow.WrongStatus.selector;
            else if (!late) outcome.refusal = IJobEscrow.JobHasNotExpired.selector;
            else (outcome.status, outcome.toClient) = (IERC8183.JobStatus.Expired, all);
        }
    }

    function _statusOf(State state) private pure returns (IERC8183.JobStatus) {
        return IERC8183.JobStatus(state == State.OpenWithoutProvider ? 0 : uint256(state) - 1);
    }

    // ------------------------------------------------------------------ doing

    function _jobIn(State state) private returns (uint256 jobId) {
        IJobEscrow.HireTerms memory t = terms();
        if (state == State.OpenWithoutProvider) t.provider = address(0);
        return jobIn(_statusOf(state), t);
    }

    function _address(Caller caller) private view returns (address) {
        if (caller == Caller.Hook) return address(hook);
        return vm.addr(_key(caller));
    }

    function _key(Caller caller) private pure returns (uint256) {
        if (caller == Caller.Client) return CLIENT_KEY;
        if (caller == Caller.Provider) return PROVIDER_KEY;
        return caller == Caller.Evaluator ? EVALUATOR_KEY : STRANGER_KEY;
    }

    /// @dev By signature, the caller is who signs.
    function _data(uint256 jobId, Verb verb, Caller caller) private view returns (bytes memory) {
        if (verb == Verb.SetProvider) return abi.encodeCall(escrow.setProvider, (jobId, provider, ""));
        if (verb == Verb.SetBudget) return abi.encodeCall(escrow.setBudget, (jobId, 7, ""));
        if (verb == Verb.Fund) return abi.encodeCall(escrow.fund, (jobId, BUDGET, ""));
        if (verb == Verb.FundWrongBudget) return abi.encodeCall(escrow.fund, (jobId, BUDGET + 1, ""));
        if (verb == Verb.Submit) return abi.encodeCall(escrow.submit, (jobId, DELIVERABLE, ""));
        if (verb == Verb.Complete) return abi.encodeCall(escrow.complete, (jobId, REASON, ""));
        if (verb == Verb.CompleteSplit) return abi.encodeCall(escrow.completeSplit, (jobId, 2_500, REASON, ""));
        if (verb == Verb.Reject) return abi.encodeCall(escrow.reject, (jobId, REASON, ""));
        if (verb == Verb.ClaimRefund) return abi.encodeCall(escrow.claimRefund, (jobId));
        uint256 key = _key(caller);
        if (verb == Verb.SubmitBySig) {
            bytes memory s = signVerb(key, JobDigests.SUBMISSION, jobId, DELIVERABLE, "", FOREVER);
            return abi.encodeCall(escrow.submitBySig, (jobId, DELIVERABLE, "", FOREVER, s));
        }
        if (verb == Verb.CompleteBySig) {
            bytes memory s = signVerb(key, JobDigests.COMPLETION, jobId, REASON, "", FOREVER);
            return abi.encodeCall(escrow.completeBySig, (jobId, REASON, "", FOREVER, s));
        }
        bytes memory rejection = signVerb(key, JobDigests.REJECTION, jobId, REASON, "", FOREVER);
        return abi.encodeCall(escrow.rejectBySig, (jobId, REASON, "", FOREVER, rejection));
    }
}
