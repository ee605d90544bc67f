// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IJobOutcomes
/// @notice What a job escrow must tell so that jobs can be rated.
interface IJobOutcomes {
    /// @notice Who paid whom how much for a job, once that can no longer change.
    /// @param jobId The job's number in the escrow.
    /// @return client Who hired; the only one who may rate.
    /// @return provider Who was paid.
    /// @return token In which token.
    /// @return paid What the provider got, atomic units; 0 when it got nothing.
    /// @return terminal Whether the job has ended. The other values must never change from then on.
    function jobOutcome(uint256 jobId)
        external
        view
        returns (address client, address provider, address token, uint128 paid, bool terminal);
}
