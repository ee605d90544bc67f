// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {MandateWorld} from "./MandateWorld.sol";
import {ScriptedToken} from "./Tokens.sol";

/// @notice What MandateRegistry must do, written a second time and as plainly as possible: a budget a mandate and period, and
/// the error with which any order is refused.
abstract contract MandateModel is MandateWorld {
    struct Budget {
        bool approved;
        bool revoked;
        /// By itself and by all below it.
        uint256 spent;
        /// By itself alone.
        uint256 own;
    }

    /// How an order's tokens go, and who says so.
    enum Route {
        ByDelegate,
        ByStranger,
        BySignature,
        ByBatch,
        ByDeposit
    }

    /// What is wrong with the delegate's consent.
    enum Fault {
        None,
        Forged,
        Late,
        Replayed
    }

    /// @notice An order before it is written down.
    struct Plan {
        uint256 mandate;
        uint256 payee;
        uint128 amount;
        Route route;
        Fault fault;
        /// For each level whether its approval comes along: 0 no, 1 yes, 2 forged.
        uint8[3] approvals;
        bool proofs;
        bool byAuthorization;
        uint256 nonce;
    }

    Budget[MANDATES] internal model;
    mapping(uint256 mandate => mapping(uint256 period => uint256)) internal periodSpent;
    mapping(address principal => uint32) internal epochs;
    /// Tokens that arrived at a payee, or at the channel contract.
    mapping(address to => uint256) internal received;
    uint256 internal refunded;

    // ------------------------------------------------------------------ what must happen

    function expectedError(Plan memory plan) internal view returns (bytes4) {
        uint256 depth = depthOf(plan.mandate);
        for (uint256 k = 0; k <= depth; k++) {
            bytes4 refused = _errorAt(plan, depth - k);
            if (refused != 0) return refused;
        }
        bytes4 unwanted = _consentError(plan);
        return unwanted != 0 ? unwanted : _tokenError(plan);
    }

    function _errorAt(Plan memory plan, uint256 level) private view returns (bytes4) {
        uint256 i = ancestor(plan.mandate, level);
        IMandateRegistry.Mandate memory m = mandates[i];
        if (model[i].revoked) return IMandateRegistry.MandateIsRevoked.selector;
        if (!model[i].approved && plan.approvals[level] == 0) return IMandateRegistry.MandateNotApproved.selector;
        if (!model[i].approved && plan.approvals[level] == 2) return IMandateRegistry.InvalidSignature.selector;
        if (parents[i] == NO_PARENT && m.epoch != epochs[m.principal]) return IMandateRegistry.WrongEpoch.selector;
        if (block.timestamp < m.validAfter) return IMandateRegistry.NotYetValid.selector;
        if (block.timestamp > m.validUntil) return IMandateRegistry.NoLongerValid.selector;
        if (plan.amount > m.paymentLimit) return IMandateRegistry.PaymentLimitExceeded.selector;
        if (model[i].spent + plan.amount > m.limit) return IMandateRegistry.LimitExceeded.selector;
        if (m.period != 0 && periodSpent[i][periodOf(i)] + plan.amount > m.periodLimit) {
            return IMandateRegistry.PeriodLimitExceeded.selector;
        }
        return _mayBePaid(i, plan) ? bytes4(0) : IMandateRegistry.PayeeNotAllowed.selector;
    }

    /// @dev As the world is planted: 1, 4 and 6 allow two payees, 2 allows one, the others any.
    function _mayBePaid(uint256 i, Plan memory plan) private pure returns (bool) {
        if (i == 2) return plan.payee == 0;
        if (i == 1 || i == 4 || i == 6) return plan.proofs && plan.payee < 2;
        return true;
    }

    function _consentError(Plan memory plan) private pure returns (bytes4) {
        if (plan.route == Route.ByDelegate) return 0;
        if (plan.route == Route.ByStranger) return IMandateRegistry.NotDelegate.selector;
        if (plan.fault == Fault.Late) return IMandateRegistry.SignatureExpired.selector;
        if (plan.fault == Fault.Replayed) return IMandateRegistry.NonceAlreadyUsed.selector;
        if (plan.fault == Fault.Forged) return IMandateRegistry.InvalidSignature.selector;
        return 0;
    }

    function _tokenError(Plan memory plan) private view returns (bytes4) {
        ScriptedToken.Mode mode = token.mode();
        if (mode == ScriptedToken.Mode.Paused) return ScriptedToken.EnforcedPause.selector;
        if (mode == ScriptedToken.Mode.ReturnsFalse) {
            return plan.byAuthorization
                ? IMandateRegistry.WrongTokenBalance.selector
                : SafeERC20.SafeERC20FailedOperation.selector;
        }
        if (mode != ScriptedToken.Mode.FeeOnTransfer) return 0;
        if (plan.byAuthorization) return IMandateRegistry.WrongTokenBalance.selector;
        return plan.route == Route.ByDeposit ? ISessionChannels.DepositCollectionFailed.selector : bytes4(0);
    }

    function periodOf(uint256 i) internal view returns (uint256) {
        return (block.timestamp - mandates[i].validAfter) / mandates[i].period;
    }

    /// @notice The order went through.
    function applyPlan(Plan memory plan) internal {
        uint256 depth = depthOf(plan.mandate);
        for (uint256 level = 0; level <= depth; level++) {
            uint256 i = ancestor(plan.mandate, level);
            model[i].approved = true;
            model[i].spent += plan.amount;
            if (mandates[i].period != 0) periodSpent[i][periodOf(i)] += plan.amount;
        }
        model[plan.mandate].own += plan.amount;
        uint256 fee = token.mode() == ScriptedToken.Mode.FeeOnTransfer ? (uint256(plan.amount) + 99) / 100 : 0;
        received[plan.route == Route.ByDeposit ? address(channels) : payees[plan.payee]] += plan.amount - fee;
    }

    // ------------------------------------------------------------------ what must hold

    /// @notice No mandate was ever charged above a limit, in all or in any period until now, nor a child more than its parent;
    /// and a mandate was charged what was spent under it and below it, by each of its children and itself.
    function checkLimits() public view {
        for (uint256 i = 0; i < MANDATES; i++) {
            vm.assertLe(model[i].spent, mandates[i].limit, "limit");
            uint256 sum = model[i].own;
            for (uint256 child = 0; child < MANDATES; child++) {
                if (parents[child] != i) continue;
                sum += model[child].spent;
                vm.assertLe(model[child].spent, model[i].spent, "a child more than its parent");
            }
            vm.assertEq(model[i].spent, sum, "sum of the children");
            if (mandates[i].period == 0 || block.timestamp < mandates[i].validAfter) continue;
            uint256 now_ = periodOf(i);
            for (uint256 period = 0; period <= now_ && period < 60; period++) {
                vm.assertLe(periodSpent[i][period], mandates[i].periodLimit, "limit of a period");
            }
        }
    }

    /// @notice What the registry keeps is what the model says.
    function checkStates() public view {
        for (uint256 i = 0; i < MANDATES; i++) {
            IMandateRegistry.MandateState memory state = registry.mandates(ids[i]);
            vm.assertEq(state.spent, model[i].spent, "spent");
            vm.assertEq(state.approved, model[i].approved, "approved");
            vm.assertEq(state.revoked, model[i].revoked, "revoked");
            if (state.approved) vm.assertEq(state.depth, depthOf(i), "depth");
            if (mandates[i].period == 0) continue;
            vm.assertEq(state.periodSpent, periodSpent[i][state.periodIndex], "spent in the period");
        }
        vm.assertEq(registry.epochs(principal), epochs[principal], "epoch");
        vm.assertEq(registry.epochs(address(principalWallet)), epochs[address(principalWallet)], "wallet's epoch");
    }

    /// @notice Only the principals' tokens moved, by what was charged to their roots, and only to payees and channels; none are
    /// in the registry.
    function checkTokens() public view {
        vm.assertEq(token.balanceOf(address(registry)), 0, "in the registry");
        vm.assertEq(token.balanceOf(principal), 1e15 - model[0].spent + refunded, "the principal's");
        vm.assertEq(token.balanceOf(address(principalWallet)), 1e15 - model[4].spent, "the wallet's");
        vm.assertEq(token.balanceOf(address(channels)), received[address(channels)] - refunded, "in channels");
        for (uint256 i = 0; i < PAYEES; i++) {
            vm.assertEq(token.balanceOf(payees[i]), received[payees[i]], "a payee's");
        }
        vm.assertEq(token.balanceOf(thief), 0, "the thief's");
    }
}
