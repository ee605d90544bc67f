// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBazaarRegistry} from "../interfaces/IBazaarRegistry.sol";

/// @title BondLib
/// @notice The tally of one bond; whose it is and where tokens move is the caller's.
library BondLib {
    function add(IBazaarRegistry.Bond storage bond, uint256 amount) internal {
        uint256 total = bond.amount + amount;
        require(total <= type(uint104).max, IBazaarRegistry.BondTooLarge(total));
        bond.amount = uint104(total);
    }

    /// @notice What stands: what is not on its way out.
    function standing(IBazaarRegistry.Bond storage bond) internal view returns (uint128) {
        return bond.amount - bond.unbonding;
    }

    function ask(IBazaarRegistry.Bond storage bond, uint256 amount, uint256 delay)
        internal
        returns (uint40 withdrawableAt)
    {
        require(amount <= bond.amount, IBazaarRegistry.NotEnoughBond(amount, bond.amount));
        withdrawableAt = amount == 0 ? 0 : uint40(block.timestamp + delay);
        (bond.unbonding, bond.withdrawableAt) = (uint104(amount), withdrawableAt);
    }

    /// @return amount What leaves.
    function take(IBazaarRegistry.Bond storage bond) internal returns (uint128 amount) {
        amount = bond.unbonding;
        require(amount != 0, IBazaarRegistry.NothingUnbonding());
        require(
            block.timestamp >= bond.withdrawableAt,
            IBazaarRegistry.StillBonded(bond.withdrawableAt, block.timestamp)
        );
        (bond.amount, bond.unbonding, bond.withdrawableAt) = (uint104(bond.amount - amount), 0, 0);
    }
}
