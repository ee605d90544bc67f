// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {BazaarHandler} from "./test-support/BazaarHandler.sol";
import {TestBase} from "./test-support/TestBase.sol";

/// @notice What must hold after any history of BazaarRegistry; `BazaarHandler` makes the history, and holds every single call
/// against what must happen: no rating without a payment, no change by a stranger, no bond before its time.
contract BazaarRegistryInvariantTest is TestBase {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    BazaarHandler private handler;

    function setUp() public {
        handler = new BazaarHandler();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Payments and ratings come up more often: without them nothing else has anything to show.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[13] memory actions = [
            BazaarHandler.claim.selector,
            BazaarHandler.claim.selector,
            BazaarHandler.rate.selector,
            BazaarHandler.rate.selector,
            BazaarHandler.rate.selector,
            BazaarHandler.sellIdentity.selector,
            BazaarHandler.update.selector,
            BazaarHandler.bond.selector,
            BazaarHandler.unbond.selector,
            BazaarHandler.withdraw.selector,
            BazaarHandler.facilitate.selector,
            BazaarHandler.retire.selector,
            BazaarHandler.warp.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0].addr = address(handler);
        targets[0].selectors = new bytes4[](13);
        for (uint256 i = 0; i < 13; i++) {
            targets[0].selectors[i] = actions[i];
        }
    }

    /// @notice The sums are those of the ratings, and no more is rated than was ever claimed.
    function invariant_ratingsArePaid() public view {
        handler.checkRatings();
    }

    /// @notice Terms and revisions are what owners made of them.
    function invariant_listingsAreTheirOwners() public view {
        handler.checkListings();
    }

    /// @notice The registry holds exactly the bonds.
    function invariant_bonds() public view {
        handler.checkBonds();
    }

    /// @notice A plain history, to see that the handler's days are lively ones.
    function test_handlerIsLively() public {
        for (uint256 seed = 1; seed < 200; seed++) {
            uint256 chance = random(seed, "chance");
            handler.claim(chance);
            handler.rate(chance);
            handler.update(chance >> 8);
            handler.bond(chance);
            if (seed % 5 == 0) handler.unbond(chance);
            if (seed % 9 == 0) handler.sellIdentity(chance >> 16);
            handler.warp(chance);
            handler.withdraw(chance);
        }
        handler.checkRatings();
        handler.checkListings();
        handler.checkBonds();
        vm.assertGe(handler.effects(BazaarHandler.rate.selector), 40, "ratings");
        vm.assertGe(handler.effects(BazaarHandler.update.selector), 20, "updates");
        vm.assertGe(handler.effects(BazaarHandler.withdraw.selector), 3, "withdrawals");
    }
}
