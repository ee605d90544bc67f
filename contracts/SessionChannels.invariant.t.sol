// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Handler} from "./test-support/Handler.sol";
import {TestBase} from "./test-support/TestBase.sol";

/// @notice What must hold after any history of SessionChannels; `Handler` makes the history and the model.
contract SessionChannelsInvariantTest is TestBase {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Handler private handler;

    function setUp() public {
        handler = new Handler();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Claims and deposits come up more often: without them nothing else has anything to do.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        bytes4[17] memory actions = [
            Handler.deposit.selector,
            Handler.deposit.selector,
            Handler.donate.selector,
            Handler.claim.selector,
            Handler.claimTwoFamilies.selector,
            Handler.claimWithSignature.selector,
            Handler.claimPacked.selector,
            Handler.claimAndSettle.selector,
            Handler.replay.selector,
            Handler.settle.selector,
            Handler.initiateWithdraw.selector,
            Handler.initiateWithdrawWithSignature.selector,
            Handler.cancelWithdraw.selector,
            Handler.finalizeWithdraw.selector,
            Handler.refund.selector,
            Handler.refundWithSignature.selector,
            Handler.warp.selector
        ];
        targets = new FuzzSelector[](1);
        targets[0].addr = address(handler);
        targets[0].selectors = new bytes4[](18);
        for (uint256 i = 0; i < 17; i++) {
            targets[0].selectors[i] = actions[i];
        }
        targets[0].selectors[17] = Handler.setToken.selector;
    }

    /// @notice The contract holds exactly what it owes, plus what was given to it unasked; channel claims add up to
    /// receiver totals.
    function invariant_solvent() public view {
        handler.checkSolvent();
    }

    /// @notice totalClaimed never falls, and never exceeds the balance or a voucher the payer signed.
    function invariant_vouchersBind() public {
        handler.checkVouchers();
    }

    /// @notice Every word of state is what the model says: balances fall only by refunds and finalized withdrawals,
    /// skipped rows and replays change nothing, withdrawals end only after their delay.
    function invariant_matchesModel() public view {
        handler.checkModel();
    }
}
