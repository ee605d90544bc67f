// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC8183} from "./interfaces/IERC8183.sol";
import {JobHandler} from "./test-support/JobHandler.sol";
import {TestBase} from "./test-support/TestBase.sol";

/// @notice What must hold after any history of JobEscrow; `JobHandler` makes the history and holds every transition and every
/// refusal against the ERC's list.
contract JobEscrowInvariantTest is TestBase {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    JobHandler private handler;

    function setUp() public {
        handler = new JobHandler();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[9] memory actions = [
            JobHandler.hireJob.selector,
            JobHandler.create.selector,
            JobHandler.act.selector,
            JobHandler.act.selector,
            JobHandler.act.selector,
            JobHandler.act.selector,
            JobHandler.setHook.selector,
            JobHandler.setToken.selector,
            JobHandler.warp.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0].addr = address(handler);
        targets[0].selectors = new bytes4[](9);
        for (uint256 i = 0; i < 9; i++) {
            targets[0].selectors[i] = actions[i];
        }
    }

    function invariant_books() public view {
        handler.checkBooks();
    }

    function invariant_refundsCannotBeBlocked() public {
        handler.checkRefunds();
    }

    /// @notice A plain history, to see that the handler's days are lively ones.
    function test_handlerIsLively() public {
        for (uint256 seed = 1; seed < 1200; seed++) {
            uint256 chance = random(seed, "chance");
            if (seed % 9 == 0) handler.hireJob(chance);
            else if (seed % 23 == 0) handler.create(chance);
            else if (seed % 17 == 0) handler.setHook(chance);
            else if (seed % 19 == 0) handler.setToken(chance);
            else if (seed % 29 == 0) handler.warp(chance);
            else handler.act(chance);
        }
        handler.checkBooks();
        handler.checkRefunds();
        bytes4[5] memory verbs = [
            IERC8183.submit.selector,
            IERC8183.complete.selector,
            IERC8183.reject.selector,
            IERC8183.claimRefund.selector,
            IERC8183.setBudget.selector
        ];
        for (uint256 i = 0; i < 5; i++) {
            vm.assertGe(handler.effects(verbs[i]), 3, "lively");
        }
    }
}
