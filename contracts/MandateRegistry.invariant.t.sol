// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MandateHandler} from "./test-support/MandateHandler.sol";
import {TestBase} from "./test-support/TestBase.sol";

/// @notice What must hold after any history of MandateRegistry, two trees of mandates deep; `MandateHandler` makes the history,
/// and holds every single call against the model: nothing outside validity, nothing revoked or of an older epoch, nothing to
/// a payee that is not allowed, and preview as spend.
contract MandateRegistryInvariantTest is TestBase {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    MandateHandler private handler;

    function setUp() public {
        handler = new MandateHandler();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Payments come up more often: without them nothing else has anything to show.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[14] memory actions = [
            MandateHandler.pay.selector,
            MandateHandler.pay.selector,
            MandateHandler.pay.selector,
            MandateHandler.payTwice.selector,
            MandateHandler.payTwice.selector,
            MandateHandler.payBatch.selector,
            MandateHandler.payBatch.selector,
            MandateHandler.approve.selector,
            MandateHandler.revoke.selector,
            MandateHandler.revokeBySignature.selector,
            MandateHandler.bumpEpoch.selector,
            MandateHandler.refund.selector,
            MandateHandler.setToken.selector,
            MandateHandler.warp.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0].addr = address(handler);
        targets[0].selectors = new bytes4[](14);
        for (uint256 i = 0; i < 14; i++) {
            targets[0].selectors[i] = actions[i];
        }
    }

    /// @notice Never above a limit, in all or in any period; children never above their parents; parents charged with them.
    function invariant_withinLimits() public view {
        handler.checkLimits();
    }

    /// @notice Every word of state is what the model says: refused calls change nothing, refunds restore no budget.
    function invariant_matchesModel() public view {
        handler.checkStates();
    }

    /// @notice Only the principals' tokens moved, only to payees and channels, and the registry has none.
    function invariant_tokens() public view {
        handler.checkTokens();
    }

    /// @notice A plain history, to see that the handler's days are lively ones.
    function test_handlerIsLively() public {
        for (uint256 seed = 1; seed < 160; seed++) {
            uint256 chance = random(seed, "chance");
            if (seed % 7 == 0) handler.warp(chance);
            else if (seed % 3 == 0) handler.payBatch(chance);
            else if (seed % 3 == 1) handler.payTwice(chance);
            else handler.pay(chance);
            if (seed % 20 == 0) handler.refund(chance, uint128(chance % 100));
        }
        handler.checkLimits();
        handler.checkStates();
        handler.checkTokens();
        vm.assertGe(handler.effects(MandateHandler.pay.selector), 15, "payments");
        vm.assertGe(handler.effects(MandateHandler.payBatch.selector), 15, "rows");
        vm.assertGe(handler.effects(MandateHandler.refund.selector), 3, "deposits");
    }
}
