// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IVerifierPool
/// @notice Verifiers bond tokens; every whole SEAT_BOND of a verifier's free stake is one lot in the draw of a panel. A seat on
/// a panel locks one SEAT_BOND until its round is over.
interface IVerifierPool {
    struct Verifier {
        /// Number in the draw, from 1; 0: never bonded.
        uint32 index;
        /// Stake that is not locked, atomic units.
        uint96 free;
        /// Stake locked in seats, atomic units.
        uint96 locked;
    }

    event VerifierBonded(address indexed verifier, uint256 amount, uint256 free);
    event VerifierUnbonded(address indexed verifier, uint256 amount, uint256 free);
    event VerifierSlashed(address indexed verifier, uint256 indexed jobId, uint256 round, uint256 amount);
    event Credited(address indexed account, uint256 indexed jobId, uint256 amount);
    event Withdrawn(address indexed account, uint256 amount);

    error InsufficientStake(address verifier, uint256 free, uint256 amount);
    /// @notice Stakes stand still while a panel waits to be drawn, or its seed could be played against: draw it first.
    error DrawPending(uint256 jobId);
    error ZeroAmount();
    error WrongTokenBalance(uint256 balance, uint256 expected);

    /// @notice Adds to the sender's stake, by its allowance.
    function bond(uint96 amount) external;

    /// @notice Takes back free stake.
    function unbond(uint96 amount) external;

    /// @notice Pays an account what it is owed: bonds given back, fees, shares of slashed bonds. Anyone may send it.
    /// @dev Nobody is paid in passing, so that no account that cannot be paid holds up a ruling.
    function withdraw(address account) external returns (uint256 amount);

    function owed(address account) external view returns (uint256);

    function verifiers(address account) external view returns (Verifier memory);

    /// @notice Verifiers with a lot in the draw, and lots.
    function seatsAvailable() external view returns (uint256 verifierCount, uint256 seats);

    function token() external view returns (address);

    /// @notice What a seat locks, atomic units.
    function SEAT_BOND() external view returns (uint96);
}
