// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DisputeHandler} from "./test-support/DisputeHandler.sol";
import {IDisputeEvaluator} from "./interfaces/IDisputeEvaluator.sol";
import {TestBase} from "./test-support/TestBase.sol";

/// @notice What must hold after any history of disputes; `DisputeHandler` makes the history.
contract DisputeEvaluatorInvariantTest is TestBase {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    DisputeHandler private handler;

    function setUp() public {
        handler = new DisputeHandler();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[9] memory actions = [
            DisputeHandler.start.selector,
            DisputeHandler.act.selector,
            DisputeHandler.act.selector,
            DisputeHandler.act.selector,
            DisputeHandler.drawPanel.selector,
            DisputeHandler.vote.selector,
            DisputeHandler.vote.selector,
            DisputeHandler.stake.selector,
            DisputeHandler.warp.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0].addr = address(handler);
        targets[0].selectors = new bytes4[](9);
        for (uint256 i = 0; i < 9; i++) {
            targets[0].selectors[i] = actions[i];
        }
    }

    /// @notice Tokens held are stakes, bonds under way and what is owed; the draw knows every lot.
    function invariant_bondsAreConserved() public view {
        handler.checkBooks();
    }

    /// @notice Every dispute is final, and every undisputed job completed, before claimRefund opens.
    function invariant_finalBeforeExpiry() public {
        handler.checkFinality();
    }

    /// @notice A plain history, to see that the handler's days are lively ones.
    function test_handlerIsLively() public {
        for (uint256 seed = 1; seed < 2_000; seed++) {
            uint256 chance = random(seed, "chance");
            if (seed % 100 == 1) handler.start(chance);
            else if (seed % 37 == 0) handler.warp(chance);
            else if (seed % 5 == 0) handler.drawPanel(chance);
            else if (seed % 3 == 0) handler.vote(chance);
            else if (seed % 11 == 0) handler.stake(chance);
            else handler.act(chance);
            if (seed % 100 == 0) handler.checkBooks();
            if (seed % 100 == 50) handler.checkFinality();
        }
        bytes4[7] memory verbs = [
            IDisputeEvaluator.dispute.selector,
            IDisputeEvaluator.draw.selector,
            IDisputeEvaluator.commitVote.selector,
            IDisputeEvaluator.revealVote.selector,
            IDisputeEvaluator.escalate.selector,
            IDisputeEvaluator.resolve.selector,
            IDisputeEvaluator.releaseSeats.selector
        ];
        for (uint256 i = 0; i < 7; i++) {
            vm.assertGe(handler.effects(verbs[i]), 1, vm.toString(i));
        }
    }
}
